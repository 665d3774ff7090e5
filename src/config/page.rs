//! The page on settings, made from the tables so that it is never out of date.

use std::fmt::Write as _;

use super::dmr::FOREIGN;
use super::sources::SYSTEM_FILE;
use super::{Env, Kind, SETTINGS};

/// `contrib/SETTINGS.md`.
pub fn settings_page() -> String {
    let mut page = format!(
        "# Settings\n\
         \n\
         Made from the tables in `src/config`; a test holds it to them.\n\
         \n\
         A setting is a flag of `modeld serve`, an environment variable, or a key of a settings file. \
         A flag counts more than a variable, a variable more than a file, a file more than the \
         default. `modeld config show --origin` prints what holds and who said so.\n\
         \n\
         ## Files\n\
         \n\
         `$XDG_CONFIG_HOME/modeld/config.toml` (`~/.config/modeld/config.toml`; on macOS \
         `~/Library/Application Support/modeld/config.toml`) is yours, and `{SYSTEM_FILE}` the \
         machine's, which counts less, key by key. `--config FILE` or `{}` names another in the place of \
         yours, which has to exist. `modeld config path` prints them.\n\
         \n\
         ```toml\n\
         # ~/.config/modeld/config.toml\n\
         keep-alive = \"30m\"\n\
         tcp = \"127.0.0.1:12434\"\n\
         origin = [\"https://chat.example.com\", \"app://*\"]\n\
         max-queue = 128\n\
         auto-pull = true\n\
         ```\n\
         \n\
         The keys are the flags without `--`, all at the top. Durations are texts (`\"5m\"`) or numbers of \
         seconds. `tcp`, `containers` and `ollama-port` take an address, a port, `true` for what the bare \
         flag means, or `false`. Relative paths begin at the directory of the file; `~/` is your \
         home. A key that is unknown, a value of another type and one that cannot be read are errors \
         with their line and column, and modeld does not start (exit code 78). So are a file that \
         others can write to, one that belongs to another user, and a link that leads nowhere. Commands \
         that talk to a daemon name such a mistake and go on where the file still says where that is; \
         where it does not, they end with 78.\n\
         \n\
         `modeld config check` looks for all of this without starting anything. `modeld config set KEY \
         VALUE` and `unset KEY` change the file and keep its comments (those between the values of a list \
         go above it); `modeld config set KEY=VALUE KEY=VALUE` changes all of them or none, as \
         `tls-cert` and `tls-key` want it (one of both may \
         stand in the file while the other comes by flag or variable). Relative paths typed there are \
         those from where you stand, and the file gets absolute ones. `modeld config edit` opens the \
         file in `$VISUAL` or `$EDITOR`; what cannot be used does not take its place.\n\
         \n\
         ## Reloading\n\
         \n\
         SIGHUP, `modeld config reload` and `POST /modeld/reload` have a running daemon read the files \
         again, without dropping a connection or an answer. What is marked below holds from then on; \
         the rest needs a restart, which the log and the answer say by name. A file that cannot be used \
         changes nothing.\n\
         \n\
         ## Keys\n\
         \n\
         | Key | Flag | Variable | Type | Default | Reload | Meaning |\n\
         |---|---|---|---|---|---|---|\n",
        Env::CONFIG
    );
    for setting in SETTINGS {
        let default = match setting.default {
            "" => "none".to_owned(),
            default => format!("`{default}`"),
        };
        let _ = writeln!(
            page,
            "| `{}` | `{} {}` | `{}` | {} | {default} | {} | {} |",
            setting.key(),
            setting.flag,
            cell(setting.value),
            setting.env,
            Kind::of(setting).word(),
            if setting.reloads() { "yes" } else { "restart" },
            cell(setting.meaning),
        );
    }
    page.push_str(
        "\n## Variables of other programs\n\
         \n\
         Setups of Docker Model Runner and Ollama keep their variables. Those in the table above are read \
         under these names; `MODEL_RUNNER_PORT` stays on the loopback interface. Of the others:\n\
         \n\
         | Variable | What becomes of it |\n\
         |---|---|\n",
    );
    for foreign in FOREIGN {
        let _ = writeln!(page, "| `{}` | {} |", foreign.name, cell(foreign.meaning));
    }
    page.push_str(
        "\nFor a variable without effect there is a line in the log when the daemon starts. Proxies are those of \
         `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.\n",
    );
    page
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_SETTINGS=1 cargo test --release --lib config::page` writes the page anew.
    #[test]
    fn the_page_is_the_one_that_the_tables_make() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/SETTINGS.md");
        let made = settings_page();
        if std::env::var_os("UPDATE_SETTINGS").is_some() {
            std::fs::write(path, &made).expect("a file that can be written");
        }
        let page = std::fs::read_to_string(path).expect("the page");
        assert!(page == made, "{path} is out of date: see the comment at this test");
    }

    #[test]
    fn the_example_is_a_file_that_can_be_read() {
        let page = settings_page();
        let example = page.split("```").nth(1).and_then(|text| text.strip_prefix("toml\n"));
        let path = std::path::Path::new("/c.toml");
        let file = super::super::ConfigFile::parse(path, example.expect("an example"), None);
        let env = Env {
            files: vec![file.expect("a readable file")],
            runtime_dir: Some("/r".into()),
            data_dir: Some("/d".into()),
            ..Env::default()
        };
        super::super::resolve(&super::super::RawConfig::default(), &env).expect("good values");
    }
}
