use std::time::Duration;

use super::finding::Finding;
use super::patient::Patient;
use super::service::Manager;
use super::{
    certificate, cgroup, clock, cpu, daemon, descriptors, disk, gpu, memory, paths, ports,
    registry, sandbox, secrets, service, settings, stale, store,
};

/// How long one look at this machine may take. A file system over a network that is away answers
/// never.
const PATIENCE: Duration = Duration::from_secs(10);

type Check = fn(&Patient) -> Vec<Finding>;

/// What needs nobody else, by name.
const LOCAL: [(&str, Check); 14] = [
    ("settings", settings::check),
    ("certificate", certificate::check),
    ("secrets", secrets::check),
    ("paths", paths::check),
    ("disk", disk::check),
    ("store", store::check),
    ("leftovers", stale::check),
    ("ports", ports::check),
    ("cpu", cpu::check),
    ("gpu", gpu::check),
    ("memory", memory::check),
    ("cgroup", cgroup::check),
    ("descriptors", descriptors::check),
    ("sandbox", sandbox::check),
];

/// Looks at everything. Each look has its time, and they go on side by side: this takes some seconds
/// at most, whatever hangs.
pub async fn examine(patient: &Patient) -> Vec<Finding> {
    let here: Vec<_> = LOCAL
        .into_iter()
        .map(|(name, check)| tokio::spawn(bounded(patient.clone(), name, check, PATIENCE)))
        .collect();
    let manager = manager(patient).await;
    let (daemon, outside) =
        tokio::join!(daemon::check(patient, &manager), registry::check(patient));
    let (outside, date) = outside;
    let mut all = daemon;
    all.extend(service::judge(&manager));
    for check in here {
        all.extend(check.await.unwrap_or_else(|fault| vec![failed(&fault.to_string())]));
    }
    all.extend(outside);
    all.push(clock::judge(clock::now(), date));
    all
}

/// One look, on a thread of its own, which is left alone if it does not come back.
async fn bounded(
    patient: Patient,
    name: &'static str,
    check: Check,
    patience: Duration,
) -> Vec<Finding> {
    let look = tokio::task::spawn_blocking(move || check(&patient));
    match tokio::time::timeout(patience, look).await {
        Ok(Ok(found)) => found,
        Ok(Err(fault)) => vec![failed(&fault.to_string())],
        Err(_) => {
            let text =
                format!("looking took longer than {} s and was given up", patience.as_secs());
            let fix = "see whether a file system hangs: `ls` in your home and in the directory of \
                       the models, `mount`, `dmesg`";
            vec![Finding::fail(name, text, fix)]
        }
    }
}

async fn manager(patient: &Patient) -> Manager {
    let patient = patient.clone();
    let look = tokio::task::spawn_blocking(move || service::look(&patient));
    match tokio::time::timeout(PATIENCE, look).await {
        Ok(manager) => manager.unwrap_or_default(),
        Err(_) => Manager::silent(PATIENCE),
    }
}

fn failed(fault: &str) -> Finding {
    Finding::fail("doctor", fault, "report this: the doctor itself failed")
}

#[cfg(test)]
mod tests {
    use super::super::finding::{Verdict, worst};
    use super::super::patient::testing::patient;
    use super::*;

    #[test]
    fn a_look_that_never_ends_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        // Held until the test is over.
        static HANGS: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let held = HANGS.lock().unwrap();
        let hang: Check = |_| {
            drop(HANGS.lock());
            Vec::new()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let patience = Duration::from_millis(20);
        let found = runtime.block_on(bounded(patient(dir.path()), "disk", hang, patience));
        assert!(found[0].message.contains("given up"), "{found:?}");
        assert_eq!((found[0].check, found[0].verdict), ("disk", Verdict::Fail));
        drop(held);
    }

    #[tokio::test]
    async fn an_empty_machine_is_examined_to_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let all = examine(&patient(dir.path())).await;
        for check in ["daemon", "service", "settings", "paths", "disk", "memory", "clock"] {
            assert!(all.iter().any(|finding| finding.check == check), "{check}: {all:#?}");
        }
        assert_ne!(worst(&all), Verdict::Fail, "{all:#?}");
        for finding in &all {
            assert_eq!(finding.fix.is_none(), finding.verdict == Verdict::Ok, "{finding:?}");
        }
    }
}
