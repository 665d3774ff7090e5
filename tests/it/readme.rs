//! What the README promises is what the program has.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The code in the first column of the table below the heading that begins with `heading`.
fn first_column(heading: &str) -> BTreeSet<String> {
    let readme = file("README.md");
    let section = readme.split("\n## ").find(|section| section.starts_with(heading));
    let section = section.unwrap_or_else(|| panic!("no section {heading}"));
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.filter_map(|row| row.split('`').nth(1)).map(str::to_owned).collect()
}

#[test]
fn every_command_is_in_the_readme_and_the_other_way_round() {
    let output = Command::new(env!("CARGO_BIN_EXE_modeld")).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let commands = help.split("Commands:").nth(1).expect("a list of commands");
    let listed: BTreeSet<String> = commands
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .filter(|name| *name != "help" && name.starts_with(|c: char| c.is_ascii_lowercase()))
        .map(str::to_owned)
        .collect();
    let documented: BTreeSet<String> = first_column("Commands")
        .iter()
        .filter_map(|usage| usage.strip_prefix("modeld ")?.split(' ').next().map(str::to_owned))
        .collect();
    assert_eq!(documented, listed);
}

#[test]
fn the_table_of_settings_is_the_one_in_the_code() {
    let output = Command::new(env!("CARGO_BIN_EXE_modeld")).args(["serve", "--help"]).output();
    let help = String::from_utf8(output.unwrap().stdout).unwrap();
    let flags: BTreeSet<String> = help
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter(|word| {
            word.starts_with("--") && !["--help", "--version", "--host", "--config"].contains(word)
        })
        .map(str::to_owned)
        .collect();
    let documented: BTreeSet<String> = first_column("Configuration")
        .iter()
        .filter_map(|row| row.split(' ').next().map(str::to_owned))
        .collect();
    assert_eq!(documented, flags);
}

/// The table that the router's own test holds against the routes.
#[test]
fn the_table_of_routes_is_the_one_in_the_code() {
    let source = file("src/api/routes.rs");
    let rows = source.lines().filter_map(|line| {
        let line = line.trim();
        let row = line.strip_prefix("open(").or_else(|| line.strip_prefix("managing("))?;
        let mut texts = row.split('"').skip(1).step_by(2);
        Some(format!("{} {}", texts.next()?, texts.next()?))
    });
    let served: BTreeSet<String> = rows.collect();
    assert!(served.len() > 5, "{served:?}");
    assert_eq!(first_column("API"), served);
}

#[test]
fn scripts_that_the_readme_names_exist_and_are_executable() {
    use std::os::unix::fs::PermissionsExt as _;
    let readme = file("README.md");
    for script in ["contrib/try", "contrib/test", "contrib/bench"] {
        assert!(readme.contains(script), "the README does not mention {script}");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script} is not executable");
    }
}
