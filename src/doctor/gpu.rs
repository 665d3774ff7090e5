use super::finding::Finding;
use super::patient::Patient;

const CHECK: &str = "gpu";

/// What this build computes with besides the processor.
const METAL: bool = cfg!(target_os = "macos");

/// The GPUs that the system shows, and whether this build uses them.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    vec![judge(&devices(patient), METAL)]
}

fn devices(patient: &Patient) -> Vec<&'static str> {
    let entries = |dir: &str| -> Vec<String> {
        let all = std::fs::read_dir(patient.system(dir)).into_iter().flatten().flatten();
        all.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let dev = entries("dev");
    let is_card =
        |name: &String| name.strip_prefix("nvidia").is_some_and(|n| n.parse::<u8>().is_ok());
    let mut found = Vec::new();
    if dev.iter().any(is_card) {
        found.push("NVIDIA (/dev/nvidia0)");
    }
    if dev.iter().any(|name| name == "kfd") {
        found.push("AMD (/dev/kfd)");
    }
    // Every graphics card has such a node, those above as well.
    if found.is_empty() && entries("dev/dri").iter().any(|name| name.starts_with("renderD")) {
        found.push("a graphics card (/dev/dri)");
    }
    found
}

fn judge(devices: &[&str], metal: bool) -> Finding {
    match (devices, metal) {
        (_, true) => Finding::ok(CHECK, "this build computes on the processor and with Metal"),
        ([], false) => Finding::ok(CHECK, "no GPU; this build computes on the processor"),
        (some, false) => Finding::warn(
            CHECK,
            format!("there is {}; this build computes on the processor alone", some.join(", ")),
            "nothing is wrong; models run slower than this machine could",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::super::patient::testing::{file, patient};
    use super::*;

    #[test]
    fn cards_are_seen_by_their_nodes() {
        let dir = tempfile::tempdir().unwrap();
        let patient = patient(dir.path());
        assert_eq!(devices(&patient), [] as [&str; 0]);
        file(dir.path(), "dev/nvidiactl", "");
        file(dir.path(), "dev/dri/card0", "");
        assert_eq!(devices(&patient), [] as [&str; 0]);
        file(dir.path(), "dev/dri/renderD128", "");
        assert_eq!(devices(&patient), ["a graphics card (/dev/dri)"]);
        file(dir.path(), "dev/nvidia0", "");
        file(dir.path(), "dev/kfd", "");
        assert_eq!(devices(&patient), ["NVIDIA (/dev/nvidia0)", "AMD (/dev/kfd)"]);
    }

    #[test]
    fn a_card_that_is_not_used_is_worth_a_word() {
        assert_eq!(judge(&[], false).verdict, Verdict::Ok);
        assert_eq!(judge(&["x"], false).verdict, Verdict::Warn);
        assert_eq!(judge(&["x"], true).verdict, Verdict::Ok);
    }
}
