//! The dead set.

use crate::broker::consumer::Content;
use crate::broker::dead_set::{DeadReason, DeadSet, NewDeadLetter};
use crate::broker::settlement::Disposition;
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{
    ack, assert_counts, content, join, message, names, next, nothing_else, numbered, reason, receipts, reject, send,
    take,
};

/// Publishes messages and rejects them into the dead set.
async fn dead_letter(f: &Fixture, count: usize) {
    send(&f.broker, "q", &numbered("m", count)).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, count).await;
    let why = |n: usize| Disposition::Dead(DeadReason { code: "unknown-task", text: format!("why {n}") });
    let batch = receipts(&got).into_iter().enumerate().map(|(n, receipt)| (receipt, why(n))).collect();
    consumer.acker().reject(batch).await.expect("could not reject");
    consumer.close().await.expect("could not close");
}

async fn keys(dead: &dyn DeadSet) -> Vec<u64> {
    dead.list(0, 1000).await.expect("could not list").iter().map(|letter| letter.key).collect()
}

/// A dead letter has the message as it was, and says why and where it died.
pub async fn a_dead_letter_says_everything(f: Fixture) {
    let dead = f.dead();
    dead_letter(&f, 1).await;
    let letters = dead.list(0, 10).await.expect("could not list");
    assert_eq!(letters.len(), 1);
    let letter = dead.get(letters[0].key).await.expect("could not read").expect("the listed one is not there");
    for letter in [&letters[0], &letter] {
        assert_eq!((letter.code.as_str(), letter.reason.as_str()), ("unknown-task", "why 0"));
        assert_eq!((letter.queue.as_str(), letter.task_id.as_deref()), ("q", Some("m0")));
        assert_eq!(letter.task.as_deref(), Some("tasks.case"));
        assert_eq!(letter.message, Some(message("m0")));
        assert_eq!(letter.raw, None);
    }
}

/// A dead letter says when it was put into the dead set.
pub async fn a_dead_letter_has_its_time(f: Fixture) {
    dead_letter(&f, 1).await;
    let at = f.clock.now();
    f.advance(f.tick());
    assert_eq!(f.dead().list(0, 10).await.expect("could not list")[0].at, at);
}

/// A message that is not in flight any more can be added, and comes back on its queue when it is replayed.
pub async fn what_was_acked_can_be_added(f: Fixture) {
    let dead = f.dead();
    let reason = DeadReason { code: "arguments", text: "does not fit".to_owned() };
    let new = NewDeadLetter { queue: "q".into(), message: message("m0"), reason };
    dead.add(vec![new]).await.expect("could not add");
    let letters = dead.list(0, 10).await.expect("could not list");
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].code.as_str(), letters[0].reason.as_str()), ("arguments", "does not fit"));
    assert_eq!((letters[0].queue.as_str(), letters[0].task_id.as_deref()), ("q", Some("m0")));
    assert_eq!(letters[0].message, Some(message("m0")));
    assert_eq!(dead.replay(vec![letters[0].key]).await.expect("could not replay"), 1);
    let mut consumer = f.consumer(&["q"]).await;
    assert_eq!(names(&take(&mut consumer, 1).await), ["m0"]);
    consumer.close().await.expect("could not close");
}

/// Listing goes by key, page by page.
pub async fn dead_letters_are_listed_by_page(f: Fixture) {
    let dead = f.dead();
    dead_letter(&f, 7).await;
    assert_eq!(dead.count().await.expect("could not count"), 7);
    let (mut after, mut seen) = (0, Vec::new());
    for wanted in [3, 3, 1, 0] {
        let page = dead.list(after, 3).await.expect("could not list");
        assert_eq!(page.len(), wanted);
        assert!(page.iter().map(|letter| letter.key).is_sorted());
        after = page.last().map_or(after, |letter| letter.key);
        seen.extend(page.into_iter().filter_map(|letter| letter.task_id));
    }
    assert_eq!(seen, numbered("m", 7));
    assert!(dead.list(u64::MAX, 3).await.expect("could not list").is_empty());
    assert!(dead.list(0, 0).await.expect("could not list").is_empty());
}

/// Replayed messages are back on their queue, as they were; unknown keys count nothing.
pub async fn replay_puts_messages_back(f: Fixture) {
    let dead = f.dead();
    dead_letter(&f, 3).await;
    let keys = keys(dead).await;
    assert_eq!(dead.replay(vec![keys[0], keys[2], 999_999]).await.expect("could not replay"), 2);
    assert_eq!(dead.replay(vec![keys[0]]).await.expect("could not replay"), 0);
    assert_eq!(dead.count().await.expect("could not count"), 1);
    assert_counts(&f, "q", (2, 0, 0)).await;
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 2).await;
    assert_eq!((content(&got[0]), content(&got[1])), (&message("m0"), &message("m2")));
    ack(&*consumer, &got).await;
}

/// A replay wakes a consumer that waits.
pub async fn replay_wakes_who_waits(f: Fixture) {
    let dead = f.dead();
    dead_letter(&f, 1).await;
    let keys = keys(dead).await;
    let mut consumer = f.consumer(&["q"]).await;
    let (got, replayed) = join(next(&mut consumer, 1), async {
        tokio::task::yield_now().await;
        dead.replay(keys).await
    })
    .await;
    assert_eq!((names(&got), replayed.expect("could not replay")), (vec!["m0".to_owned()], 1));
}

/// A replayed message can die again.
pub async fn a_replayed_message_can_die_again(f: Fixture) {
    let dead = f.dead();
    dead_letter(&f, 1).await;
    dead.replay(keys(dead).await).await.expect("could not replay");
    let mut consumer = f.consumer(&["q"]).await;
    let got = take(&mut consumer, 1).await;
    reject(&*consumer, &got, &reason("again")).await;
    let letters = dead.list(0, 10).await.expect("could not list");
    assert_eq!((letters.len(), letters[0].reason.as_str()), (1, "again"));
}

/// Removed dead letters are gone; unknown keys count nothing.
pub async fn remove_deletes_dead_letters(f: Fixture) {
    let dead = f.dead();
    dead_letter(&f, 3).await;
    let keys = keys(dead).await;
    assert_eq!(dead.remove(vec![keys[1], 999_999]).await.expect("could not remove"), 1);
    assert!(dead.get(keys[1]).await.expect("could not read").is_none());
    assert_eq!(dead.count().await.expect("could not count"), 2);
    let mut consumer = f.consumer(&["q"]).await;
    nothing_else(&f.broker, "q", &mut consumer).await;
}

/// Bytes that are not a message are delivered, dead-lettered and replayed as they are.
pub async fn unreadable_bytes_are_kept_as_they_are(f: Fixture) {
    let dead = f.dead();
    let raw: &[u8] = b"\xff\x00 no message {";
    f.insert_unreadable("q", raw, "no message").await;
    for _ in 0..2 {
        let mut consumer = f.consumer(&["q"]).await;
        let got = next(&mut consumer, 1).await;
        let Content::Unreadable { raw: found, reason: text } = &got[0].content else {
            panic!("unreadable bytes became a message")
        };
        assert_eq!(&**found, raw);
        assert!(!text.is_empty());
        reject(&*consumer, &got, &reason("unreadable")).await;
        let letters = dead.list(0, 10).await.expect("could not list");
        assert_eq!(letters.len(), 1);
        assert_eq!((letters[0].raw.as_deref(), &letters[0].message), (Some(raw), &None));
        assert_eq!((&letters[0].task_id, &letters[0].task), (&None, &None));
        dead.replay(vec![letters[0].key]).await.expect("could not replay");
        consumer.close().await.expect("could not close");
    }
    assert_counts(&f, "q", (1, 0, 0)).await;
}
