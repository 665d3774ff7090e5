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
fn every_setting_of_serve_is_in_the_readme() {
    let output = Command::new(env!("CARGO_BIN_EXE_modeld")).args(["serve", "--help"]).output();
    let help = String::from_utf8(output.unwrap().stdout).unwrap();
    let documented = first_column("Configuration");
    let flags = help
        .split(|c: char| c.is_whitespace() || c == ',' || c == '[' || c == '=')
        .filter(|word| word.starts_with("--") && !["--help", "--version"].contains(word));
    for flag in flags {
        let flag = flag.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let found = documented.iter().any(|row| row.split(' ').next() == Some(flag));
        assert!(found, "{flag} is not in the README's table of settings");
    }
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
