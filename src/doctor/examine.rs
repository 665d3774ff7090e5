use super::finding::Finding;
use super::patient::Patient;
use super::{
    cgroup, clock, cpu, daemon, descriptors, disk, gpu, memory, paths, ports, registry, sandbox,
    secrets, service, settings, stale,
};

/// Looks at everything. What asks others has its time: this takes some seconds at most.
pub async fn examine(patient: &Patient) -> Vec<Finding> {
    let own = patient.clone();
    let manager =
        tokio::task::spawn_blocking(move || service::look(&own)).await.unwrap_or_default();
    let (daemon, outside) =
        tokio::join!(daemon::check(patient, &manager), registry::check(patient));
    let own = patient.clone();
    let here = tokio::task::spawn_blocking(move || local(&own)).await.unwrap_or_else(|fault| {
        vec![Finding::fail("doctor", fault.to_string(), "report this: the doctor itself failed")]
    });
    let (outside, date) = outside;
    let mut all = daemon;
    all.extend(service::judge(&manager));
    all.extend(here);
    all.extend(outside);
    all.push(clock::judge(clock::now(), date));
    all
}

/// What needs nobody else.
fn local(patient: &Patient) -> Vec<Finding> {
    let checks: [fn(&Patient) -> Vec<Finding>; 12] = [
        settings::check,
        secrets::check,
        paths::check,
        disk::check,
        stale::check,
        ports::check,
        cpu::check,
        gpu::check,
        memory::check,
        cgroup::check,
        descriptors::check,
        sandbox::check,
    ];
    checks.iter().flat_map(|check| check(patient)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::{Verdict, worst};
    use super::super::patient::testing::patient;
    use super::*;

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
