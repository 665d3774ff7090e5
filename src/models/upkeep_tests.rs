//! Upkeep through the asynchronous front, and how fast long lists are.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::json;

use crate::domain::{Digest, ErrorKind};
use crate::registry::media;
use crate::store::{Finding, PruneOptions, Store};

use super::*;

fn put(store: &Store, bytes: &[u8]) -> crate::store::Blob {
    let mut writer = store.write_blob(Some(bytes.len() as u64)).unwrap();
    writer.append(bytes).unwrap();
    writer.commit(None).unwrap()
}

fn put_model(store: &Store, name: &str, layer_type: &str) -> Digest {
    let weights = name.as_bytes();
    let config = json!({
        "config": { "format": "gguf", "architecture": name },
        "descriptor": { "created": "2025-06-15T15:06:40Z" },
        "rootfs": { "type": "rootfs", "diff_ids": [Digest::of(weights).to_string()] },
    });
    let config = config.to_string().into_bytes();
    let descriptor = |kind: &str, bytes: &[u8]| {
        let digest = Digest::of(bytes).to_string();
        json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    };
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media::MANIFEST,
        "config": descriptor(media::CONFIG_V1, &config),
        "layers": [descriptor(media::GGUF, weights), descriptor(layer_type, weights)],
    });
    let _held = (put(store, weights), put(store, &config));
    let tags = [format!("docker.io/ai/{name}:latest")];
    store.put_model(manifest.to_string().as_bytes(), &tags).unwrap()
}

fn home() -> (tempfile::TempDir, Models) {
    let dir = tempfile::tempdir().unwrap();
    let models = Models::new(Store::open(&dir.path().join("models")).unwrap());
    (dir, models)
}

#[tokio::test]
async fn a_purge_forgets_what_was_known() {
    let (_dir, models) = home();
    let id = put_model(models.store(), "one", media::LICENSE);
    assert_eq!(models.list().await.unwrap()[0].config.architecture, "one");
    let usage = models.usage().await.unwrap();
    assert_eq!((usage.per_model.len(), usage.orphans), (1, 0));
    assert!(models.prune(PruneOptions::default()).await.unwrap().removed.is_empty());
    assert_eq!(models.purge().await.unwrap().removed.len(), 3);
    assert_eq!(models.list().await.unwrap().len(), 0);
    assert!(models.inner.cards.get(models.store(), &id).is_err(), "read anew");
    assert_eq!(models.inspect("one").await.unwrap_err().kind, ErrorKind::ModelNotFound);
}

#[tokio::test]
async fn a_check_names_media_that_nothing_understands() {
    let (_dir, models) = home();
    put_model(models.store(), "sound", media::LICENSE);
    let strange = put_model(models.store(), "strange", "application/x-strange");
    let steps = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&steps);
    let count = move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        ControlFlow::Continue(())
    };
    let report = models.fsck(count, false).await.unwrap();
    let [problem] = report.problems.as_slice() else { panic!("{report:?}") };
    assert_eq!(problem.finding, Finding::UnknownMedia("application/x-strange".into()));
    assert_eq!((problem.digest, problem.models.len()), (Some(strange), 0));
    assert_eq!(steps.load(Ordering::Relaxed), 4, "one for each blob");
}

#[tokio::test]
async fn a_repair_makes_the_next_answer_true() {
    let (_dir, models) = home();
    put_model(models.store(), "one", media::LICENSE);
    models.list().await.unwrap();
    let weights = models.store().blob_path(&Digest::of(b"one"));
    std::fs::remove_file(&weights).unwrap();
    std::fs::write(&weights, b"eno").unwrap();
    let report = models.fsck(|_| ControlFlow::Continue(()), true).await.unwrap();
    assert!(report.problems[0].repaired, "{report:?}");
    assert_eq!(report.problems[0].models[0].command.as_deref(), Some("modeld pull ai/one:latest"));
    let error = models.resolve("one").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidModel);
    assert!(error.message.contains("missing"), "{error}");
}

/// Prints what it took; how fast a machine is decides no test.
#[tokio::test]
async fn a_thousand_models_are_listed_without_reading_them_again() {
    let (_dir, models) = home();
    for number in 0..1000 {
        put_model(models.store(), &format!("m{number}"), media::LICENSE);
    }
    let again = Models::new(Store::open(models.store().root()).unwrap());
    for what in ["the first time", "again"] {
        let started = Instant::now();
        assert_eq!(again.list().await.unwrap().len(), 1000);
        println!("1,000 models listed {what}: {:?}", started.elapsed());
    }
    // What was read once is not read again: the manifests may be gone.
    std::fs::remove_dir_all(models.store().root().join("manifests")).unwrap();
    let listed = again.list().await.unwrap();
    assert!(listed.iter().all(|entry| entry.config.architecture.starts_with('m')));
    let started = Instant::now();
    models.usage().await.unwrap();
    println!("measured: {:?}", started.elapsed());
}
