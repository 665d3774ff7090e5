use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::finding::Finding;
use super::patient::Patient;
use crate::files::shell_word;
use crate::store::{self, Flaw, FlawKind, Glance};

const CHECK: &str = "store";
/// How long the look may take; a store of a hundred models takes a few milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Examples of one kind that are shown.
const SHOWN: usize = 3;

/// The store's own files, and whether the models that they name are there. Takes no lock and reads no
/// blob, so it goes on beside a daemon.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let Some(root) = patient.store() else { return Vec::new() };
    match store::glance(root, PATIENCE) {
        // Whether one can be made there is for the paths to say.
        None => Vec::new(),
        Some(glance) => judge(root, &glance, patient.uid),
    }
}

fn judge(root: &Path, glance: &Glance, uid: u32) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut rest: Vec<&Flaw> = glance.flaws.iter().collect();
    while let Some(first) = rest.first().copied() {
        let (same, others): (Vec<&Flaw>, Vec<&Flaw>) =
            rest.into_iter().partition(|flaw| advice(&flaw.kind) == advice(&first.kind));
        found.push(together(root, &same, uid));
        rest = others;
    }
    if !glance.complete {
        let text = format!("{} was not looked at to its end", root.display());
        found.push(Finding::warn(CHECK, text, "modeld fsck looks at everything"));
    }
    if found.is_empty() {
        let models = glance.models;
        let text = format!("{}: what its index names is there; models: {models}", root.display());
        found.push(Finding::ok(CHECK, text));
    }
    found
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Advice {
    OtherPlace,
    NewerProgram,
    NothingMuch,
    Rebuilt,
    TakeOver,
    Rights,
    PullAgain,
    ImportAgain,
}

fn advice(kind: &FlawKind) -> Advice {
    use crate::store::Finding as Found;
    match kind {
        FlawKind::NotAStore => Advice::OtherPlace,
        FlawKind::UnknownLayout(_) => Advice::NewerProgram,
        FlawKind::NoLayout => Advice::NothingMuch,
        FlawKind::ForeignOwner(_) => Advice::TakeOver,
        FlawKind::Found(found) => match found {
            Found::DamagedIndex(_) => Advice::Rebuilt,
            Found::Unreadable(_) => Advice::Rights,
            Found::Adopted { .. } => Advice::ImportAgain,
            _ => Advice::PullAgain,
        },
    }
}

fn words(kind: &FlawKind) -> String {
    match kind {
        FlawKind::NotAStore => "holds other files and no layout.json: it is no store".to_owned(),
        FlawKind::UnknownLayout(version) => {
            format!("says layout {version:?}; this program knows 1.x")
        }
        FlawKind::NoLayout => "is missing or says nothing".to_owned(),
        FlawKind::ForeignOwner(uid) => format!("belongs to uid {uid}"),
        FlawKind::Found(found) => found.to_string(),
    }
}

/// One finding for all that need the same.
fn together(root: &Path, flaws: &[&Flaw], uid: u32) -> Finding {
    let mut text = flaws.iter().take(SHOWN).map(|flaw| one(root, flaw)).collect::<Vec<_>>();
    if flaws.len() > SHOWN {
        text.push(format!("and {} more", flaws.len() - SHOWN));
    }
    let text = text.join("; ");
    let shown = shell_word(root);
    let Some(first) = flaws.first() else { return Finding::ok(CHECK, text) };
    match advice(&first.kind) {
        Advice::OtherPlace => {
            let fix = "choose an empty directory, or one of Docker Model Runner, with MODELS_PATH";
            Finding::fail(CHECK, text, fix)
        }
        Advice::NewerProgram => {
            let fix = "use the program that wrote it, or another store with MODELS_PATH";
            Finding::fail(CHECK, text, fix)
        }
        Advice::NothingMuch => {
            Finding::warn(CHECK, text, "nothing: the daemon writes it anew when it starts")
        }
        Advice::Rebuilt => {
            let fix = "look at `modeld list`: the daemon makes the index anew from the manifests and \
                       sets the damaged one aside; names that it could not read are given with \
                       `modeld tag`";
            Finding::warn(CHECK, text, fix)
        }
        Advice::TakeOver => {
            let fix = format!("chown -R {uid} {shown} as root, if these files are yours");
            Finding::fail(CHECK, text, fix)
        }
        Advice::Rights => {
            let fix = format!("chmod -R u+rwX {shown}, and look at that disk's health");
            Finding::fail(CHECK, text, fix)
        }
        Advice::PullAgain => {
            let models = models(flaws);
            let fix =
                format!("modeld fsck --repair, then get anew what came from elsewhere: {models}");
            Finding::fail(CHECK, text, fix)
        }
        Advice::ImportAgain => {
            let models = models(flaws);
            let fix = format!("put the file back, or get the models anew: {models}");
            Finding::fail(CHECK, text, fix)
        }
    }
}

fn one(root: &Path, flaw: &Flaw) -> String {
    let real = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let path: PathBuf = flaw.path.strip_prefix(&real).map_or_else(
        |_| flaw.path.clone(),
        |inner| if inner.as_os_str().is_empty() { root.to_owned() } else { inner.to_owned() },
    );
    let of = match flaw.models.first().or(flaw.id.as_ref()) {
        Some(model) => format!(" (of {model})"),
        None => String::new(),
    };
    format!("{}{of}: {}", path.display(), words(&flaw.kind))
}

/// How each of them is got anew, once.
fn models(flaws: &[&Flaw]) -> String {
    let names = flaws.iter().filter_map(|flaw| flaw.models.first());
    let nameless = flaws.iter().filter(|flaw| flaw.models.is_empty());
    let named = commands("modeld pull", names);
    let nameless = commands("modeld rm", nameless.filter_map(|flaw| flaw.id.as_ref()));
    let mut parts = Vec::new();
    if !named.is_empty() {
        parts.push(named);
    }
    // An id cannot be pulled.
    if !nameless.is_empty() {
        parts.push(format!(
            "what has no name here is pulled by the name that it had, if you know it, or is removed: \
             {nameless}"
        ));
    }
    parts.join("; ")
}

/// The same command for each, once.
fn commands<'a>(command: &str, models: impl Iterator<Item = &'a String>) -> String {
    let models: BTreeSet<&String> = models.collect();
    let first = models.iter().take(SHOWN).map(|model| format!("{command} {}", shell_word(model)));
    let mut commands: Vec<String> = first.collect();
    if models.len() > SHOWN {
        commands.push(format!("and {} more", models.len() - SHOWN));
    }
    commands.join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::finding::{Verdict, worst};
    use super::super::patient::testing::{file, patient};
    use super::*;
    use crate::store::Finding as Found;

    fn flaw(path: &str, kind: FlawKind, models: &[&str]) -> Flaw {
        let models = models.iter().map(|name| (*name).to_owned()).collect();
        Flaw { path: path.into(), kind, models, id: Some("0123456789ab".to_owned()) }
    }

    fn judged(flaws: Vec<Flaw>) -> Vec<Finding> {
        judge(Path::new("/m"), &Glance { models: 3, flaws, complete: true }, 7)
    }

    #[test]
    fn a_model_without_a_name_is_not_pulled_by_its_id() {
        for kind in [
            Found::MissingManifest,
            Found::Adopted {
                file: "/x".into(),
                what: crate::store::AdoptedFault::Unreadable("is gone".into()),
            },
        ] {
            let both = [&["a/x"] as &[&str], &[]];
            let flaws = both.map(|names| flaw("/m/f", FlawKind::Found(kind.clone()), names));
            let found = judged(flaws.into());
            let fix = found[0].fix.as_deref().unwrap();
            assert!(fix.contains("modeld pull a/x; what has no name"), "{fix}");
            assert!(fix.ends_with("modeld rm 0123456789ab"), "{fix}");
            assert!(!fix.contains("pull 0123456789ab"), "{fix}");
        }
    }

    #[test]
    fn commands_can_be_copied() {
        let foreign = flaw("/My Models/x", FlawKind::ForeignOwner(8), &[]);
        let unreadable = FlawKind::Found(Found::Unreadable("x".into()));
        let flaws = vec![foreign, flaw("/My Models/y", unreadable, &[])];
        let glance = Glance { models: 3, flaws, complete: true };
        let found = judge(Path::new("/My Models"), &glance, 7);
        let fix = |at: usize| found[at].fix.as_deref().unwrap();
        assert!(fix(0).starts_with("chown -R 7 '/My Models' as root"), "{found:#?}");
        assert!(fix(1).starts_with("chmod -R u+rwX '/My Models',"), "{found:#?}");
    }

    #[test]
    fn what_needs_the_same_is_one_finding() {
        let short = |n: u64| FlawKind::Found(Found::WrongSize { expected: 10, found: n });
        let mut flaws: Vec<Flaw> =
            (0..5).map(|n| flaw(&format!("/m/blobs/{n}"), short(n), &["a/x"])).collect();
        flaws.push(flaw("/m/blobs/6", FlawKind::ForeignOwner(7), &[]));
        let found = judged(flaws);
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found[0].message.ends_with("and 2 more"), "{found:#?}");
        assert!(found[0].message.contains("(of a/x): it has 0 bytes"), "{found:#?}");
        assert_eq!(
            found[0].fix.as_deref().unwrap(),
            "modeld fsck --repair, then get anew what came from elsewhere: modeld pull a/x"
        );
        assert!(found[1].fix.as_deref().unwrap().starts_with("chown"), "{found:#?}");
    }

    #[test]
    fn each_has_a_verdict_and_something_to_do() {
        for (kind, verdict, fix) in [
            (FlawKind::NotAStore, Verdict::Fail, "MODELS_PATH"),
            (FlawKind::UnknownLayout("2".into()), Verdict::Fail, "the program that wrote it"),
            (FlawKind::NoLayout, Verdict::Warn, "writes it anew"),
            (FlawKind::Found(Found::DamagedIndex("x".into())), Verdict::Warn, "modeld list"),
            (FlawKind::Found(Found::Unreadable("x".into())), Verdict::Fail, "chmod"),
            (FlawKind::Found(Found::MissingManifest), Verdict::Fail, "modeld pull a/x"),
        ] {
            let found = judged(vec![flaw("/m/f", kind.clone(), &["a/x"])]);
            assert_eq!(found[0].verdict, verdict, "{kind:?}");
            assert!(found[0].fix.as_deref().unwrap().contains(fix), "{found:?}");
        }
        let unfinished = Glance { complete: false, ..Glance::default() };
        assert_eq!(worst(&judge(Path::new("/m"), &unfinished, 7)), Verdict::Warn);
    }

    #[test]
    fn what_lies_in_the_stores_place_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let patient = patient(dir.path());
        assert_eq!(check(&patient), [], "there is none yet");
        file(dir.path(), "home/.local/share/modeld/models/layout.json", "{\"version\": \"9\"}");
        let found = check(&patient);
        assert!(found[0].message.contains("layout.json: says layout \"9\""), "{found:?}");
    }
}
