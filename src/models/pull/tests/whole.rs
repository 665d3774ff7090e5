//! Pulls that go well, and what they leave.

use std::time::Duration;

use crate::domain::{Digest, ErrorKind, TransferEvent};
use crate::gguf::testing::Writer;
use crate::models::PullLimits;

use super::source::*;

const MIB: usize = 1 << 20;

#[tokio::test(start_paused = true)]
async fn a_model_comes_whole_and_is_told_step_by_step() {
    let offer = Offer::new(5 * MIB);
    let home = Home::new(&offer);
    let (pulled, heard) = pull_heard(&home.models).await;
    let pulled = pulled.unwrap();
    assert_eq!((pulled.id, pulled.cached), (offer.remote.id, false));
    assert_eq!(pulled.tag.as_deref(), Some("docker.io/ai/m:latest"));
    assert_eq!(pulled.bytes, offer.remote.artifact.layer_bytes());
    home.assert_whole(&offer);
    assert!(matches!(&heard[0], TransferEvent::Planned(plan) if plan.layers.len() == 3));
    let told = steps(&heard, &offer.big);
    assert!(told.windows(2).all(|pair| pair[0] < pair[1]), "{told:?}");
    assert_eq!(told.last(), Some(&(5 * MIB as u64)));
    // 320 pieces came; no more is told than once in a MiB.
    assert!((4..=8).contains(&told.len()), "{told:?}");
    assert_eq!(offer.source.asked_of(&offer.big), [0..5 * MIB as u64]);
    home.models.resolve("m").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_there_is_not_fetched_again() {
    let offer = Offer::new(MIB);
    let home = Home::new(&offer);
    pull(&home.models).await.unwrap();
    home.models.store().tag("m", &"other".parse_ref()).unwrap();
    home.models.store().remove("m", false).unwrap();
    let asked = offer.source.asked.lock().unwrap().len();
    let (pulled, heard) = pull_heard(&home.models).await;
    assert!(pulled.unwrap().cached);
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(offer.source.asked.lock().unwrap().len(), asked);
    assert_eq!(home.models.store().find("m").unwrap().model.tags.len(), 2);
}

trait ParseRef {
    fn parse_ref(&self) -> crate::domain::ModelRef;
}

impl ParseRef for str {
    fn parse_ref(&self) -> crate::domain::ModelRef {
        crate::domain::ModelRef::parse(self).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn lost_and_shortened_blobs_are_mended() {
    let offer = Offer::new(MIB);
    let home = Home::new(&offer);
    pull(&home.models).await.unwrap();
    let path = home.models.store().blob_path(&offer.big);
    for damage in [None, Some(&b"short"[..])] {
        std::fs::remove_file(&path).unwrap();
        if let Some(bytes) = damage {
            std::fs::write(&path, bytes).unwrap();
        }
        let (pulled, heard) = pull_heard(&home.models).await;
        assert!(!pulled.unwrap().cached);
        home.assert_whole(&offer);
        let weights = offer.remote.artifact.layers[0].blob.digest;
        assert_eq!(steps(&heard, &weights), [0; 0], "it was there");
    }
    assert_eq!(offer.source.asked_of(&offer.big).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_is_refused_leaves_nothing() {
    let broken = Writer::tiny().without("llama.block_count").build();
    for weights in [b"GGUF, not really".to_vec(), broken] {
        let offer = Offer::with(&weights, MIB, |_| {});
        let home = Home::new(&offer);
        let error = pull(&home.models).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidModel, "{error}");
        home.assert_empty();
    }
    let mut offer = Offer::new(MIB);
    offer.remote.config = b"[]".to_vec();
    let home = Home::new(&offer);
    let error = home.models.plan_pull("m", None).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::InvalidModel, "{error}");
    // Good JSON, but not what the manifest names.
    offer.remote.config = b"{ }".to_vec();
    let home = Home::new(&offer);
    let error = pull(&home.models).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::RegistryInvalid, "{error}");
    home.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_refused_before_the_first_byte() {
    let offer = Offer::new(MIB);
    let digests = [offer.remote.artifact.layers[0].blob.digest, offer.big];
    let sizes = [Writer::tiny().build().len(), 1 << 60];
    let remote = remote(&digests, &sizes, offer.source.clone());
    let offer = Offer { remote, ..offer };
    let home = Home::new(&offer);
    let error = pull(&home.models).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::DiskFull);
    assert!(error.message.contains("needed") && error.message.contains("free"), "{error}");
    assert_eq!(offer.source.asked.lock().unwrap().len(), 0);
    home.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn empty_layers_need_no_answer() {
    let offer = Offer::new(0);
    let home = Home::new(&offer);
    pull(&home.models).await.unwrap();
    home.assert_whole(&offer);
    assert_eq!(offer.source.asked_of(&Digest::of(b"")), []);
}

/// A connection that brings 160 KiB a second.
fn slow(source: &mut FakeSource) {
    source.slow = Duration::from_millis(100);
}

fn eager() -> PullLimits {
    PullLimits { parallel_above: 256 << 10, ..PullLimits::default() }
}

#[tokio::test(start_paused = true)]
async fn slow_connections_get_company_up_to_the_bound() {
    let offer = Offer::with(&Writer::tiny().build(), 8 * MIB, slow);
    let home = Home::new(&offer).limited(eager());
    pull(&home.models).await.unwrap();
    home.assert_whole(&offer);
    let asked = offer.source.asked_of(&offer.big);
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert_eq!(asked[0], 0..8 * MIB as u64);
    // Only what was under way when a part was cut off came twice.
    let twice = offer.source.served_of(&offer.big) - 8 * MIB as u64;
    assert!(twice <= 3 * (16 << 10), "{twice}");
}

#[tokio::test(start_paused = true)]
async fn small_layers_come_over_one_connection() {
    let offer = Offer::with(&Writer::tiny().build(), 4 * MIB, slow);
    let home = Home::new(&offer);
    pull(&home.models).await.unwrap();
    assert_eq!(offer.source.asked_of(&offer.big).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_source_without_ranges_is_read_once_from_its_beginning() {
    let offer = Offer::with(&Writer::tiny().build(), 8 * MIB, |source| {
        slow(source);
        *source.always.get_mut().unwrap() = Some(Fault::Full);
    });
    let home = Home::new(&offer).limited(eager());
    pull(&home.models).await.unwrap();
    home.assert_whole(&offer);
    // The second one was tried, and left alone.
    assert_eq!(offer.source.asked_of(&offer.big).len(), 2);
    assert_eq!(offer.source.served_of(&offer.big), 8 * MIB as u64);
}

#[tokio::test(start_paused = true)]
async fn connections_that_fail_leave_their_part_to_the_others() {
    let offer = Offer::with(&Writer::tiny().build(), 8 * MIB, slow);
    let too_many = Fault::Refuse(crate::registry::Retry::After(Duration::from_secs(9)));
    let cut = Fault::Break(64 << 10);
    offer.source.then(&offer.big, &[Fault::None, Fault::None, cut, too_many]);
    let home = Home::new(&offer).limited(eager());
    let (pulled, heard) = pull_heard(&home.models).await;
    pulled.unwrap();
    home.assert_whole(&offer);
    assert!(!said(&heard, "trying again"), "{heard:?}");
}
