//! What packages contain is there, or made by the script that makes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use toml_edit::{DocumentMut, Item, Value};

use crate::support::skip;

/// What the script makes in its directory.
const MADE: &str = "target/package/";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The sources and the places of a list of assets, the places without the slash in front.
fn assets(kind: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let document: DocumentMut = text.parse().expect("TOML");
    let list = document["package"]["metadata"][kind]["assets"].as_array().expect("a list").clone();
    let text = |value: Option<&Value>| value.and_then(Value::as_str).expect("a text").to_owned();
    let pairs = list.iter().map(|asset| match asset {
        Value::Array(triple) => (text(triple.get(0)), text(triple.get(1))),
        Value::InlineTable(table) => (text(table.get("source")), text(table.get("dest"))),
        other => panic!("{other}"),
    });
    pairs.map(|(source, place)| (source, place.trim_start_matches('/').to_owned())).collect()
}

fn script(out: &Path, what: &str) -> String {
    // Whatever it is called where it was built.
    let program = out.join("built-elsewhere");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_modeld"), &program).expect("a link");
    let mut command = Command::new(root().join("contrib/package"));
    command.arg(what).env("MODELD", program).env("OUT", out);
    let output = command.env("COMPRESS", "none").stdin(Stdio::null()).output().expect("sh runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn every_asset_is_in_the_tree_or_made_by_the_script() {
    let dir = tempfile::TempDir::new().unwrap();
    script(dir.path(), "assets");
    for (source, _) in assets("deb").into_iter().chain(assets("generate-rpm")) {
        let path = match source.strip_prefix(MADE) {
            Some(made) => dir.path().join(made),
            None if source == "target/release/modeld" => continue,
            None => root().join(&source),
        };
        if path.file_name().is_some_and(|name| name == "*.1") {
            let pages = fs::read_dir(path.parent().unwrap()).unwrap().count();
            assert!(pages > 10, "{pages} manual pages");
            continue;
        }
        let size = fs::metadata(&path).unwrap_or_else(|e| panic!("{source}: {e}")).len();
        assert!(size > 0, "{source} is empty");
    }
}

#[test]
fn both_kinds_of_packages_have_the_same_in_the_same_places() {
    // Where the two families of distributions differ.
    let same = |source: &str| !source.ends_with("/_modeld") && source != "LICENSE";
    let placed = |kind| -> BTreeMap<String, PathBuf> {
        let all = assets(kind).into_iter().filter(|(source, _)| same(source));
        let whole = all.map(|(source, place)| {
            let name = Path::new(&source).file_name().unwrap().to_owned();
            let is_directory = place.ends_with('/') && name != "*.1";
            let place = PathBuf::from(&place);
            (source, if is_directory { place.join(name) } else { place })
        });
        whole.collect()
    };
    assert_eq!(placed("deb"), placed("generate-rpm"));
}

#[test]
fn the_units_of_a_package_start_its_program() {
    let placed = assets("generate-rpm");
    let program = placed.iter().find(|(source, _)| source == "target/release/modeld").unwrap();
    let unit = fs::read_to_string(root().join("systemd/modeld.service")).unwrap();
    assert!(unit.contains(&format!("ExecStart=/{} serve\n", program.1)), "{unit}");
    for unit in ["modeld.service", "modeld.socket"] {
        let place = format!("usr/lib/systemd/user/{unit}");
        assert!(placed.iter().any(|(_, dest)| *dest == place), "{unit}");
    }
}

#[test]
fn a_deb_holds_what_is_listed() {
    let name = "a_deb_holds_what_is_listed";
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        return skip(name, "there is no dpkg-deb");
    }
    let dir = tempfile::TempDir::new().unwrap();
    let package = script(dir.path(), "deb");
    let ask = |what: &str| {
        let output = Command::new("dpkg-deb").args([what, package.trim()]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = ask("--contents");
    for path in [
        "./usr/bin/modeld",
        "./usr/lib/systemd/user/modeld.service",
        "./usr/lib/systemd/user/modeld.socket",
        "./usr/lib/systemd/system/modeld.service",
        "./usr/lib/sysusers.d/modeld.conf",
        "./usr/share/bash-completion/completions/modeld",
        "./usr/share/man/man1/modeld-serve.1.gz",
        "./usr/share/doc/modeld/copyright",
        "./usr/share/doc/modeld/README.md",
    ] {
        let line = listed.lines().find(|line| line.ends_with(path));
        let line = line.unwrap_or_else(|| panic!("{path} is missing in\n{listed}"));
        assert!(line.contains("root/root"), "{line}");
        assert_eq!(line.starts_with("-rwxr-xr-x"), path == "./usr/bin/modeld", "{line}");
    }
    let control = ask("--field");
    assert!(control.contains(concat!("Version: ", env!("CARGO_PKG_VERSION"), "-1\n")), "{control}");
    assert!(
        control.contains("Depends: libc6") && control.contains("\nRecommends: ca-"),
        "{control}"
    );
    let description = Item::Value(env!("CARGO_PKG_DESCRIPTION").into());
    assert!(control.contains(description.as_str().unwrap()), "{control}");
}
