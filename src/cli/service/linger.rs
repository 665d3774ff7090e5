use super::context::Context;
use crate::cli::{CliError, Printer};

/// Whether this user's services run while nobody is logged in; `None`: nobody says.
pub(super) fn is_enabled(context: &Context<'_>) -> Option<bool> {
    let uid = context.uid.to_string();
    let asked = context.programs.run("loginctl", &["show-user", &uid, "--property=Linger"]);
    match asked.ok()?.out.trim() {
        "Linger=yes" => Some(true),
        "Linger=no" => Some(false),
        _ => None,
    }
}

pub(super) fn enable(context: &Context<'_>, printer: &mut Printer) -> Result<(), CliError> {
    if is_enabled(context) == Some(true) {
        return printer.line("unchanged  lingering is enabled");
    }
    let uid = context.uid.to_string();
    let done = context.programs.run("loginctl", &["enable-linger", &uid]);
    let problem = match done {
        Ok(done) if done.is_success() => {
            printer.line("enabled    lingering")?;
            printer.note(
                "Your services now start with the machine and stay when you log out. Undo: \
                 loginctl disable-linger",
            );
            return Ok(());
        }
        Ok(done) => done.problem(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            "there is no loginctl; lingering belongs to systemd-logind".to_owned()
        }
        Err(e) => e.to_string(),
    };
    Err(CliError::Failed(format!(
        "lingering could not be enabled: {problem}; an administrator can: \
         sudo loginctl enable-linger {uid}"
    )))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Manager, Place};
    use super::*;

    #[test]
    fn it_is_enabled_once() {
        let place = Place::new();
        let manager = Manager { linger: Some("Linger=no\n"), ..Manager::default() };
        place.capture(|printer| enable(&place.context(&manager), printer)).0.unwrap();
        let uid = rustix::process::getuid().as_raw();
        assert_eq!(manager.changes(), [format!("loginctl enable-linger {uid}")]);
        let manager = Manager { linger: Some("Linger=yes\n"), ..Manager::default() };
        let (_, said) = place.capture(|printer| enable(&place.context(&manager), printer));
        assert!(said.contains("unchanged") && manager.changes().is_empty(), "{said}");
    }

    #[test]
    fn without_logind_an_administrator_is_named() {
        let place = Place::new();
        let manager = Manager::absent();
        let context = place.context(&manager);
        let (done, _) = place.capture(|printer| enable(&context, printer));
        assert!(done.unwrap_err().to_string().contains("sudo loginctl enable-linger"));
        assert_eq!(is_enabled(&context), None);
    }
}
