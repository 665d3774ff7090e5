//! Many who want the same blob.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;

use crate::domain::TransferEvent;
use crate::gguf::testing::Writer;

use super::source::*;

const BIG: u64 = 1 << 20;

#[tokio::test(start_paused = true)]
async fn a_hundred_pulls_are_one_download() {
    let (open, opened) = watch::channel(false);
    let offer = Offer::with(&Writer::tiny().build(), BIG as usize, |source| {
        source.open = Some(opened);
    });
    let home = Home::new(&offer);
    // Nothing comes before all others wait for both layers of the first.
    let waiting = AtomicUsize::new(0);
    let told = |event: &TransferEvent| {
        let waits = matches!(event, TransferEvent::Status(text) if text.starts_with("waiting"));
        if waits && waiting.fetch_add(1, Ordering::Relaxed) + 1 == 2 * 99 {
            open.send_replace(true);
        }
    };
    let pulls = join_all((0..100).map(|_| pull_told(&home.models, told))).await;
    for (pulled, heard) in pulls {
        assert_eq!(pulled.unwrap().id, offer.remote.id);
        // Whoever waited hears how far it is, and that it is done.
        assert_eq!(steps(&heard, &offer.big).last(), Some(&BIG), "{heard:?}");
    }
    home.assert_whole(&offer);
    assert_eq!(offer.source.asked_of(&offer.big), [0..BIG]);
    assert_eq!(offer.source.asked.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn two_processes_are_one_download() {
    let offer = Offer::new(BIG as usize);
    let home = Home::new(&offer);
    let other = home.elsewhere(&offer);
    let pulls = join_all([&home.models, &other].repeat(5).into_iter().map(pull)).await;
    pulls.into_iter().for_each(|pulled| drop(pulled.unwrap()));
    home.assert_whole(&offer);
    assert_eq!(offer.source.asked_of(&offer.big), [0..BIG]);
}

#[tokio::test(start_paused = true)]
async fn one_that_goes_hands_over_to_one_that_stays() {
    let offer = Offer::new(BIG as usize);
    let home = Home::new(&offer);
    let other = home.elsewhere(&offer);
    offer.source.then(&offer.big, &[Fault::Hang(400_000)]);
    let mut first = Box::pin(pull(&home.models));
    while offer.source.served_of(&offer.big) < 400_000 {
        assert!(tokio::time::timeout(Duration::from_millis(1), &mut first).await.is_err());
    }
    let mut rest: Vec<_> = [&home.models, &other].map(|models| Box::pin(pull_heard(models))).into();
    for waiting in &mut rest {
        assert!(tokio::time::timeout(Duration::from_secs(9), waiting).await.is_err());
    }
    assert_eq!(offer.source.asked_of(&offer.big), [0..BIG]);
    drop(first);
    for (pulled, heard) in join_all(rest).await {
        pulled.unwrap();
        assert!(said(&heard, "waiting for another pull"), "{heard:?}");
    }
    home.assert_whole(&offer);
    assert_eq!(offer.source.asked_of(&offer.big), [0..BIG, 400_000..BIG]);
    assert_eq!(offer.source.served_of(&offer.big), BIG);
}
