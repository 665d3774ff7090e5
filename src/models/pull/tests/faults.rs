//! Answers that go wrong: the model comes anyway, or a clear error does.

use std::time::Duration;

use proptest::prelude::*;

use crate::domain::ErrorKind;
use crate::registry::Retry;

use super::source::*;

const BIG: u64 = 1 << 20;

async fn after(faults: &[Fault]) -> (crate::domain::Result<crate::domain::Pulled>, Offer, Home) {
    let offer = Offer::new(BIG as usize);
    offer.source.then(&offer.big, faults);
    let home = Home::new(&offer);
    let pulled = pull(&home.models).await;
    home.assert_sound();
    (pulled, offer, home)
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_tried_again_and_nothing_comes_twice() {
    use Fault::*;
    for faults in [
        vec![Cut(300_000)],
        vec![Break(300_000), Break(1), Cut(0), Break(500_000)],
        vec![Empty, NoBytes, Cut(5), Empty, Empty],
        vec![Shorter(100_000), Shorter(100_000)],
        vec![Refuse(Retry::Soon), Refuse(Retry::After(Duration::from_secs(20)))],
        vec![Break(300_000), WrongStart(-1), WrongStart(1)],
        [Refuse(Retry::Soon), Break(10)].repeat(20),
        vec![Validator("a"), Break(7)],
        vec![Refuse(Retry::Soon); 7],
    ] {
        let (pulled, offer, home) = after(&faults).await;
        pulled.unwrap_or_else(|error| panic!("{faults:?}: {error}"));
        home.assert_whole(&offer);
        let wrong = faults.iter().filter(|fault| matches!(fault, WrongStart(_))).count() as u64;
        let served = offer.source.served_of(&offer.big);
        assert!(served <= BIG + wrong * BIG, "{faults:?}: {served}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_will_not_pass_is_a_clear_error() {
    use Fault::*;
    let hour = Duration::from_secs(3600);
    for (faults, kind, text, kept) in [
        (vec![Refuse(Retry::Never)], ErrorKind::RegistryUnavailable, "too many requests", false),
        (vec![Refuse(Retry::After(hour))], ErrorKind::RegistryUnavailable, "too many", false),
        (vec![Cut(9), Refuse(Retry::Never)], ErrorKind::RegistryUnavailable, "too many", true),
        (
            vec![Refuse(Retry::Soon); 8],
            ErrorKind::RegistryUnavailable,
            "8 attempts in a row",
            false,
        ),
        (vec![Empty; 8], ErrorKind::RegistryUnavailable, "0 of 1048576 bytes", false),
        (vec![NoBytes; 4], ErrorKind::RegistryInvalid, "4 attempts in a row", false),
        (vec![WrongStart(1); 4], ErrorKind::RegistryInvalid, "from 0 on and answered", false),
        (vec![Longer], ErrorKind::RegistryInvalid, "sends more than", false),
        (vec![Overlong], ErrorKind::RegistryInvalid, "1048577 bytes", false),
        (vec![WrongBytes], ErrorKind::RegistryInvalid, "was promised", false),
        (vec![Flip(BIG - 1)], ErrorKind::RegistryInvalid, "was promised", false),
        (vec![Cut(9), Flip(9)], ErrorKind::RegistryInvalid, "was promised", false),
    ] {
        let (pulled, offer, home) = after(&faults).await;
        let error = pulled.expect_err(&format!("{faults:?}"));
        assert_eq!(error.kind, kind, "{faults:?}: {error}");
        assert!(error.message.contains(text), "{faults:?}: {error}");
        let partials = home.models.store().partials();
        let left = partials.iter().any(|partial| partial.digest == offer.big);
        assert_eq!(left, kept, "{faults:?}: {partials:?}");
        assert_eq!(home.models.store().list().unwrap(), []);
        // Nothing that is left keeps the next one from working.
        pull(&home.models).await.unwrap();
        home.assert_whole(&offer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_answers_in_full_is_read_over_what_is_there() {
    use Fault::*;
    for faults in [vec![Cut(300_000), Full], vec![Full], vec![FullCut(10), FullCut(500_000), Full]]
    {
        let (pulled, offer, home) = after(&faults).await;
        pulled.unwrap();
        home.assert_whole(&offer);
    }
    let (pulled, ..) = after(&vec![FullCut(500_000); 9]).await;
    assert_eq!(pulled.unwrap_err().kind, ErrorKind::RegistryUnavailable);
}

/// Waits until the pull has read so much, then drops it.
async fn pull_and_drop(home: &Home, offer: &Offer, at: u64) {
    let pulling = pull(&home.models);
    tokio::pin!(pulling);
    loop {
        tokio::select! {
            biased;
            ended = &mut pulling => panic!("it was to be dropped: {ended:?}"),
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
        if offer.source.served_of(&offer.big) >= at {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_pull_is_taken_up_where_it_ended() {
    let offer = Offer::new(BIG as usize);
    let home = Home::new(&offer);
    let mut at = 0;
    for further in [200_000, 1, 400_000] {
        at += further;
        offer.source.then(&offer.big, &[Fault::Hang(further)]);
        pull_and_drop(&home, &offer, at).await;
    }
    let (pulled, heard) = pull_heard(&home.models).await;
    pulled.unwrap();
    home.assert_whole(&offer);
    assert_eq!(offer.source.served_of(&offer.big), BIG, "no byte came twice");
    assert!(said(&heard, "at 57%"), "{heard:?}");
    assert_eq!(steps(&heard, &offer.big).first(), Some(&600_001));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_beginning_is_found_out_and_mended_once() {
    for always_wrong in [false, true] {
        let offer = Offer::new(BIG as usize);
        let home = Home::new(&offer);
        offer.source.then(&offer.big, &[Fault::Hang(200_000)]);
        pull_and_drop(&home, &offer, 200_000).await;
        // The next pull waits for the thread that still holds it; here the file is changed first.
        let path = home.dir.path().join(format!("models/ingest/sha256-{}.part", offer.big.hex()));
        wait_until_free(&home, &offer).await;
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[1000] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        if always_wrong {
            offer.source.then(&offer.big, &[Fault::None, Fault::Flip(7)]);
        }
        let (pulled, heard) = pull_heard(&home.models).await;
        assert!(said(&heard, "was damaged; it begins anew"), "{heard:?}");
        home.assert_sound();
        if always_wrong {
            let error = pulled.unwrap_err();
            assert_eq!(error.kind, ErrorKind::RegistryInvalid);
            assert!(error.message.contains(&offer.big.to_string()), "{error}");
            assert_eq!(home.names("ingest"), [""; 0]);
        } else {
            pulled.unwrap();
            home.assert_whole(&offer);
        }
    }
}

async fn wait_until_free(home: &Home, offer: &Offer) {
    let store = home.models.store();
    let listed = |store: &crate::store::Store| {
        store.partials().into_iter().find(|partial| partial.digest == offer.big)
    };
    while listed(store).is_none_or(|partial| partial.busy) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn another_content_under_the_same_name_begins_anew() {
    let (first, second) = (Fault::Validator("one"), Fault::Validator("two"));
    let offer = Offer::with(&crate::gguf::testing::Writer::tiny().build(), 8 << 20, |source| {
        source.slow = Duration::from_millis(100);
    });
    offer.source.then(&offer.big, &[first, second, second]);
    let limits = crate::models::PullLimits { parallel_above: 1 << 20, ..Default::default() };
    let home = Home::new(&offer).limited(limits);
    let (pulled, heard) = pull_heard(&home.models).await;
    pulled.unwrap();
    assert!(said(&heard, "was changed by the registry"), "{heard:?}");
    home.assert_whole(&offer);

    // With every range another one: it ends.
    let offer = Offer::with(&crate::gguf::testing::Writer::tiny().build(), 8 << 20, |source| {
        source.slow = Duration::from_millis(100);
    });
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    offer.source.then(&offer.big, &names.map(Fault::Validator));
    let home = Home::new(&offer).limited(limits);
    let error = pull(&home.models).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::RegistryInvalid, "{error}");
    assert!(error.message.contains("changed"), "{error}");
    assert!(offer.source.asked_of(&offer.big).len() <= 8);
}

fn fault() -> impl Strategy<Value = Fault> {
    let at = 0..BIG;
    prop_oneof![
        Just(Fault::None),
        Just(Fault::Refuse(Retry::Soon)),
        Just(Fault::Refuse(Retry::After(Duration::from_secs(3)))),
        at.clone().prop_map(Fault::Cut),
        at.clone().prop_map(Fault::Break),
        Just(Fault::Full),
        at.clone().prop_map(Fault::FullCut),
        (-5i64..5).prop_map(Fault::WrongStart),
        Just(Fault::Empty),
        Just(Fault::NoBytes),
        Just(Fault::Longer),
        Just(Fault::Overlong),
        at.clone().prop_map(Fault::Shorter),
        Just(Fault::WrongBytes),
        at.prop_map(Fault::Flip),
        prop::sample::select(&["a", "b"][..]).prop_map(Fault::Validator),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever the registry does: a model that is whole or a clear error, never a wrong blob; and
    /// a registry that recovers is enough to recover.
    #[test]
    fn no_script_of_faults_makes_a_wrong_blob_visible(
        scripts in prop::collection::vec(prop::collection::vec(fault(), 0..6), 1..4),
        slow in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let offer = Offer::with(&crate::gguf::testing::Writer::tiny().build(), BIG as usize, |source| {
                source.slow = Duration::from_millis(if slow { 200 } else { 0 });
            });
            let limits = crate::models::PullLimits { parallel_above: 64 << 10, ..Default::default() };
            let home = Home::new(&offer).limited(limits);
            for script in scripts {
                offer.source.script.lock().unwrap().clear();
                offer.source.then(&offer.big, &script);
                match pull(&home.models).await {
                    Ok(_) => home.assert_whole(&offer),
                    Err(error) => assert!(
                        matches!(error.kind, ErrorKind::RegistryInvalid | ErrorKind::RegistryUnavailable),
                        "{error:?}"
                    ),
                }
                home.assert_sound();
            }
            offer.source.script.lock().unwrap().clear();
            pull(&home.models).await.unwrap();
            home.assert_whole(&offer);
            assert_eq!(std::fs::read(home.models.store().blob_path(&offer.big)).unwrap(), offer.bytes()[..]);
        });
    }
}
