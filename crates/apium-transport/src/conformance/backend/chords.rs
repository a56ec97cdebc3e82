//! Counting the parts of chords, where the result backend does it.

use std::time::Duration;

use apium_protocol::json::text::Json;
use apium_protocol::result::document::{GroupDocument, ResultTuple};
use apium_protocol::result::state::State;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::backend::backend::{ResultRecord, SharedBackend};
use crate::backend::chord::{ChordCount, ChordEnd, ChordHeader, ChordPart, ChordProgress, FIRED_FOR, FailedPart};
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::document;

/// Longer than any case lasts.
const LONG: Duration = Duration::from_secs(3600);

/// A header of `size` parts.
pub(crate) fn header(group: &str, size: u64) -> ChordHeader {
    ChordHeader { group: group.to_owned(), size, structure: None, ttl: Some(LONG) }
}

/// The part of the task `id`, which returned `result`; it asks under the name of its task.
pub(crate) fn part(group: &str, id: &str, place: i64, result: &str) -> ChordPart {
    ChordPart {
        group: group.to_owned(),
        task_id: id.into(),
        group_index: Some(place),
        state: State::Success,
        result: json(result),
        ttl: Some(LONG),
        claimant: id.to_owned(),
        claim: LONG,
    }
}

/// The same of a task that failed.
pub(crate) fn failed(group: &str, id: &str, place: i64) -> ChordPart {
    ChordPart { state: State::Failure, ..part(group, id, place, &exception(id)) }
}

fn exception(id: &str) -> String {
    format!(r#"{{"exc_type": "ValueError", "exc_message": ["{id}"], "exc_module": "builtins"}}"#)
}

fn failure(id: &str) -> ChordProgress {
    ChordProgress::Failed(FailedPart { task_id: id.into(), state: State::Failure, exception: json(&exception(id)) })
}

fn json(text: &str) -> Json {
    Json::from_text(text).expect("a case writes JSON")
}

fn complete(results: &[&str]) -> ChordProgress {
    ChordProgress::Complete(results.iter().map(|text| json(text)).collect())
}

async fn open(f: &Fixture, header: ChordHeader) {
    f.backend.chords().expect("there are chords").open(header).await.expect("could not open the chord");
}

/// Counts a part.
pub(crate) async fn done(f: &Fixture, part: ChordPart) -> ChordProgress {
    done_at(&f.backend, part).await
}

async fn done_at(backend: &SharedBackend, part: ChordPart) -> ChordProgress {
    backend.chords().expect("there are chords").part_done(part).await.expect("could not count the part")
}

async fn end(f: &Fixture, group: &str, claimant: &str, end: ChordEnd) -> bool {
    f.backend.chords().expect("there are chords").end(group, claimant, end).await.expect("could not end the chord")
}

/// How far a chord is: parts that ended, parts in all.
pub(crate) async fn count(f: &Fixture, group: &str) -> Option<(u64, u64)> {
    let chords = f.backend.chords().expect("there are chords");
    let count = chords.count(group).await.expect("could not count the parts");
    count.map(|ChordCount { done, size }| (done, size))
}

/// Stores the result of a task, a JSON text.
async fn store(f: &Fixture, id: &str, result: &str) {
    let mut document = document(id, State::Success, "");
    document.result = json(result);
    f.backend.store(vec![ResultRecord { document, run: None, ttl: None }]).await.expect("could not store");
}

/// The last part brings the results of all, in the order of the header.
pub async fn the_last_part_brings_all_results(f: Fixture) {
    if f.backend.chords().is_none() {
        return;
    }
    open(&f, header("g", 11)).await;
    let results: Vec<String> = (0..11).map(|n| format!(r#"{{"n": [{n}, null, "ä", 1.0]}}"#)).collect();
    for place in [10, 0, 9, 1, 8, 2, 7, 3, 6, 4] {
        let part = part("g", &format!("t{place}"), place, &results[usize::try_from(place).unwrap_or(0)]);
        assert_eq!(done(&f, part).await, ChordProgress::Waiting);
    }
    let wanted = complete(&results.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(done(&f, part("g", "t5", 5, &results[5])).await, wanted);
    assert_eq!(done(&f, part("other", "t5", 5, "1")).await, ChordProgress::Waiting, "another chord");
}

/// Parts without a place come behind the others.
pub async fn parts_without_a_place_come_last(f: Fixture) {
    if f.backend.chords().is_none() {
        return;
    }
    open(&f, header("g", 3)).await;
    for (id, place) in [("a", None), ("b", Some(7))] {
        let part = ChordPart { group_index: place, ..part("g", id, 0, &format!(r#""{id}""#)) };
        assert_eq!(done(&f, part).await, ChordProgress::Waiting);
    }
    let last = ChordPart { group_index: None, ..part("g", "c", 0, r#""c""#) };
    assert_eq!(done(&f, last).await, complete(&[r#""b""#, r#""a""#, r#""c""#]));
}

/// A part counts once, however often it comes; but a header may hold one task at several places.
pub async fn a_part_counts_once(f: Fixture) {
    if f.backend.chords().is_none() {
        return;
    }
    open(&f, header("g", 3)).await;
    for _ in 0..4 {
        assert_eq!(done(&f, part("g", "a", 0, "1")).await, ChordProgress::Waiting);
    }
    assert_eq!(count(&f, "g").await, Some((1, 3)));
    assert_eq!(done(&f, part("g", "a", 1, "1")).await, ChordProgress::Waiting);
    assert_eq!(count(&f, "g").await, Some((2, 3)));
    assert_eq!(done(&f, part("g", "b", 2, "2")).await, complete(&["1", "1", "2"]));
}

/// Parts may be quicker than the header: then whoever asks again is told.
pub async fn parts_may_come_before_the_header(f: Fixture) {
    if f.backend.chords().is_none() {
        return;
    }
    assert_eq!(done(&f, part("g", "a", 0, "1")).await, ChordProgress::Waiting);
    assert_eq!(count(&f, "g").await, None, "it is not open");
    open(&f, header("g", 1)).await;
    assert_eq!(count(&f, "g").await, Some((1, 1)));
    assert_eq!(done(&f, part("g", "a", 0, "1")).await, complete(&["1"]));
}

/// A header that is sent again loses nothing of what was counted.
pub async fn a_header_sent_again_loses_nothing(f: Fixture) {
    if f.backend.chords().is_none() {
        return;
    }
    open(&f, header("g", 2)).await;
    assert_eq!(done(&f, part("g", "a", 0, "1")).await, ChordProgress::Waiting);
    open(&f, header("g", 2)).await;
    assert_eq!(count(&f, "g").await, Some((1, 2)));
    assert_eq!(done(&f, part("g", "b", 1, "2")).await, complete(&["1", "2"]));
}

fn nested() -> ChordHeader {
    let inner = ResultTuple::group("inner", vec![ResultTuple::task("b"), ResultTuple::task("c")]);
    let none = ResultTuple::group("none", Vec::new());
    let outer = ResultTuple::group("outer", vec![inner, none]);
    let result = ResultTuple::group("g", vec![ResultTuple::task("a"), outer, ResultTuple::task("d")]);
    ChordHeader { structure: Some(GroupDocument::new(result)), ..header("g", 4) }
}

/// Where a header holds groups, the results nest as it does.
pub async fn results_nest_like_the_header(f: Fixture) {
    if f.backend.chords().is_none() {
        return;
    }
    open(&f, nested()).await;
    for (place, id) in [(3, "d"), (1, "b"), (2, "c")] {
        store(&f, id, &format!(r#"["{id}"]"#)).await;
        let part = part("g", id, place, &format!(r#"["{id}"]"#));
        assert_eq!(done(&f, part).await, ChordProgress::Waiting);
    }
    store(&f, "a", r#"["a"]"#).await;
    let wanted = complete(&[r#"["a"]"#, r#"[[["b"], ["c"]], []]"#, r#"["d"]"#]);
    assert_eq!(done(&f, part("g", "a", 0, r#"["a"]"#)).await, wanted);
}

/// A task of such a header whose result is nowhere cannot be joined; one that another system counted is read from its result.
pub async fn a_missing_result_fails_a_nested_header(f: Fixture) {
    if f.backend.chords().is_none() {
        return;
    }
    open(&f, nested()).await;
    // Four parts came, but none of them is the one of `c`.
    for (place, id) in [(0, "a"), (1, "b"), (2, "other")] {
        store(&f, id, "1").await;
        assert_eq!(done(&f, part("g", id, place, "1")).await, ChordProgress::Waiting);
    }
    store(&f, "d", "1").await;
    let missing = FailedPart { task_id: "c".into(), state: State::Pending, exception: Json::NULL };
    assert_eq!(done(&f, part("g", "d", 3, "1")).await, ChordProgress::Failed(missing));
    store(&f, "c", "3").await;
    assert_eq!(
        done(&f, part("g", "d", 3, "1")).await,
        complete(&["1", "[[1, 3], []]", "1"]),
        "the claimant asks again"
    );
}

/// One has the claim on the body, and keeps it; nobody else can end the chord.
pub async fn one_claim_at_a_time(f: Fixture) {
    if f.backend.chords().is_none() {
        return;
    }
    open(&f, header("g", 2)).await;
    assert_eq!(done(&f, part("g", "a", 0, "1")).await, ChordProgress::Waiting);
    assert_eq!(done(&f, part("g", "b", 1, "2")).await, complete(&["1", "2"]));
    assert_eq!(done(&f, part("g", "a", 0, "1")).await, ChordProgress::Waiting, "another has the claim");
    assert_eq!(done(&f, part("g", "b", 1, "2")).await, complete(&["1", "2"]), "the claimant asks again");
    let same = ChordPart { claimant: "b".to_owned(), ..part("g", "a", 0, "1") };
    assert_eq!(done(&f, same).await, complete(&["1", "2"]), "whatever it asks with");
    assert_eq!(count(&f, "g").await, Some((2, 2)), "its body is not sent yet");
    assert!(!end(&f, "g", "a", ChordEnd::Fired).await);
    assert!(!end(&f, "g", "a", ChordEnd::Failed).await);
    assert!(!end(&f, "missing", "a", ChordEnd::Fired).await);
    assert!(end(&f, "g", "b", ChordEnd::Fired).await);
    assert!(!end(&f, "g", "b", ChordEnd::Fired).await, "it is over");
}

/// A claimant that died is replaced by whoever asks once its claim has run out.
pub async fn a_claim_runs_out(f: Fixture) {
    if f.backend.chords().is_none() {
        return;
    }
    open(&f, header("g", 2)).await;
    assert_eq!(done(&f, part("g", "a", 0, "1")).await, ChordProgress::Waiting);
    let short = ChordPart { claim: f.tick(), ..part("g", "b", 1, "2") };
    assert_eq!(done(&f, short).await, complete(&["1", "2"]));
    f.pass(f.tick() * 2).await;
    assert_eq!(done(&f, part("g", "a", 0, "1")).await, complete(&["1", "2"]));
    assert!(!end(&f, "g", "b", ChordEnd::Fired).await, "a lost claim ends nothing");
    assert_eq!(done(&f, part("g", "b", 1, "2")).await, ChordProgress::Waiting, "the other has it now");
    assert!(end(&f, "g", "a", ChordEnd::Fired).await);
}

async fn fire(f: &Fixture, group: &str) {
    open(f, header(group, 2)).await;
    assert_eq!(done(f, part(group, "a", 0, "1")).await, ChordProgress::Waiting);
    assert_eq!(done(f, part(group, "b", 1, "2")).await, complete(&["1", "2"]));
    assert!(end(f, group, "b", ChordEnd::Fired).await);
}

/// Once the body was sent, copies of parts are told so; and nothing is left to be counted.
pub async fn a_fired_chord_says_so(f: Fixture) {
    if f.backend.chords().is_none() {
        return;
    }
    fire(&f, "g").await;
    for again in [part("g", "a", 0, "1"), part("g", "b", 1, "2"), part("g", "late", 2, "3"), failed("g", "a", 0)] {
        assert_eq!(done(&f, again).await, ChordProgress::Fired);
    }
    assert_eq!(count(&f, "g").await, None);
    fire(&f, "another").await;
}

/// A header that is sent again after its body was sent does not begin anew: the copies of its tasks must not send it again.
pub async fn a_fired_chord_is_not_opened_again(f: Fixture) {
    if f.backend.chords().is_none() {
        return;
    }
    fire(&f, "g").await;
    open(&f, header("g", 2)).await;
    assert_eq!(count(&f, "g").await, None);
    assert_eq!(done(&f, part("g", "a", 0, "1")).await, ChordProgress::Fired);
    assert_eq!(done(&f, part("g", "b", 1, "2")).await, ChordProgress::Fired);
}

/// That it was sent is known for a while, even where what was counted lives less long.
pub async fn a_fired_chord_is_known_for_a_while(f: Fixture) {
    // The machine's clock may be quicker than the case.
    if f.backend.chords().is_none() || !f.clock.is_manual() {
        return;
    }
    open(&f, ChordHeader { ttl: Some(f.tick()), ..header("g", 1) }).await;
    let only = ChordPart { ttl: Some(f.tick()), ..part("g", "a", 0, "1") };
    assert_eq!(done(&f, only.clone()).await, complete(&["1"]));
    assert!(end(&f, "g", "a", ChordEnd::Fired).await);
    f.pass(f.tick() * 2).await;
    assert_eq!(done(&f, only.clone()).await, ChordProgress::Fired);
    f.pass(FIRED_FOR).await;
    open(&f, header("g", 1)).await;
    assert_eq!(done(&f, only).await, complete(&["1"]), "then it may begin anew");
}

/// A part that has not returned fails the chord, once all have come; the first one in the order of the header counts.
pub async fn a_failed_part_fails_the_chord(f: Fixture) {
    if f.backend.chords().is_none() {
        return;
    }
    open(&f, header("g", 3)).await;
    assert_eq!(done(&f, failed("g", "c", 2)).await, ChordProgress::Waiting);
    assert_eq!(done(&f, failed("g", "b", 1)).await, ChordProgress::Waiting);
    assert_eq!(done(&f, part("g", "a", 0, "1")).await, failure("b"));
    assert_eq!(done(&f, part("g", "b", 1, "1")).await, ChordProgress::Waiting, "another has the claim");
    assert_eq!(done(&f, part("g", "a", 0, "1")).await, failure("b"), "a part counts as it came first");
    open(&f, header("revoked", 1)).await;
    let revoked = ChordPart { state: State::Revoked, ..failed("revoked", "r", 0) };
    let wanted = FailedPart { task_id: "r".into(), state: State::Revoked, exception: json(&exception("r")) };
    assert_eq!(done(&f, revoked).await, ChordProgress::Failed(wanted));
}

/// A chord that was failed is never complete again.
pub async fn a_failed_chord_never_completes(f: Fixture) {
    if f.backend.chords().is_none() {
        return;
    }
    open(&f, header("g", 2)).await;
    assert_eq!(done(&f, failed("g", "a", 0)).await, ChordProgress::Waiting);
    let short = ChordPart { claim: f.tick(), ..part("g", "b", 1, "2") };
    assert_eq!(done(&f, short.clone()).await, failure("a"));
    // Nobody but the claimant may do it, and here it is late.
    f.pass(f.tick() * 2).await;
    assert!(!end(&f, "g", "b", ChordEnd::Failed).await);
    assert_eq!(done(&f, short).await, failure("a"));
    assert_eq!(done(&f, part("g", "b", 1, "2")).await, failure("a"));
    assert!(end(&f, "g", "b", ChordEnd::Failed).await);
    assert_eq!(count(&f, "g").await, None);
    for again in [failed("g", "a", 0), part("g", "a", 0, "1"), part("g", "b", 1, "2")] {
        assert_eq!(done(&f, again).await, ChordProgress::Waiting);
    }
}

/// A header that grows while it runs waits for what was added.
pub async fn a_chord_can_grow(f: Fixture) {
    let Some(chords) = f.backend.chords() else { return };
    chords.grow("g", 1, Some(LONG)).await.expect("could not add parts");
    assert_eq!(count(&f, "g").await, None, "it is not open");
    open(&f, header("g", 1)).await;
    assert_eq!(count(&f, "g").await, Some((0, 2)));
    assert_eq!(done(&f, part("g", "a", 0, "1")).await, ChordProgress::Waiting);
    chords.grow("g", 2, Some(LONG)).await.expect("could not add parts");
    assert_eq!(count(&f, "g").await, Some((1, 4)));
    for (place, id) in [(1, "b"), (2, "c")] {
        assert_eq!(done(&f, part("g", id, place, "2")).await, ChordProgress::Waiting);
    }
    assert_eq!(done(&f, part("g", "d", 3, "3")).await, complete(&["1", "2", "2", "3"]));
}

/// How far a chord is can be asked while it is open.
pub async fn a_count_is_told_while_it_is_open(f: Fixture) {
    if f.backend.chords().is_none() {
        return;
    }
    assert_eq!(count(&f, "g").await, None);
    open(&f, header("g", 2)).await;
    assert_eq!(count(&f, "g").await, Some((0, 2)));
    assert_eq!(done(&f, failed("g", "a", 0)).await, ChordProgress::Waiting);
    assert_eq!(count(&f, "g").await, Some((1, 2)));
    assert_eq!(count(&f, "G").await, None);
}

/// What was counted lives for its time, from the last part on.
pub async fn a_chord_lives_for_its_time(f: Fixture) {
    if f.backend.chords().is_none() {
        return;
    }
    open(&f, ChordHeader { ttl: Some(f.tick()), ..header("short", 2) }).await;
    let short = ChordPart { ttl: Some(f.tick()), ..part("short", "a", 0, "1") };
    assert_eq!(done(&f, short).await, ChordProgress::Waiting);
    open(&f, ChordHeader { ttl: Some(f.tick()), ..header("long", 2) }).await;
    assert_eq!(done(&f, part("long", "a", 0, "1")).await, ChordProgress::Waiting);
    f.pass(f.tick() * 2).await;
    assert_eq!(count(&f, "short").await, None);
    if f.clock.is_manual() {
        assert_eq!(count(&f, "long").await, Some((1, 2)));
    }
    open(&f, header("short", 2)).await;
    assert_eq!(done(&f, part("short", "b", 1, "2")).await, ChordProgress::Waiting, "the part of before is forgotten");
    open(&f, ChordHeader { ttl: None, ..header("for ever", 1) }).await;
    f.pass(f.tick() * 2).await;
    let kept = ChordPart { ttl: None, ..part("for ever", "a", 0, "1") };
    assert_eq!(done(&f, kept).await, complete(&["1"]));
}

/// Of many that end parts at once, over several handles, one is told that the chord is complete.
pub async fn many_callers_complete_a_chord_once(f: Fixture) {
    if f.backend.chords().is_none() {
        return;
    }
    let other = f.reopen().await.map_or_else(|| f.backend.clone(), |other| other.backend);
    let results: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let wanted = complete(&results.iter().map(String::as_str).collect::<Vec<_>>());
    for group in ["g0", "g1", "g2"] {
        open(&f, header(group, 40)).await;
        let mut parts = FuturesUnordered::new();
        for (place, result) in (0..).zip(&results) {
            let part = part(group, &format!("t{place}"), place, result);
            parts.push(done_at(&f.backend, part.clone()));
            // A copy of it, which runs elsewhere.
            parts.push(done_at(&other, ChordPart { claimant: format!("copy of {place}"), ..part }));
        }
        let mut told = 0;
        while let Some(progress) = parts.next().await {
            if progress == wanted {
                told += 1;
            } else {
                assert_eq!(progress, ChordProgress::Waiting);
            }
        }
        assert_eq!(told, 1);
    }
}

async fn unless_last(backend: &SharedBackend, part: ChordPart) -> Option<ChordProgress> {
    backend.chords().expect("there are chords").part_unless_last(part).await.expect("could not count the part")
}

/// A part is counted unless it may be the last one; then nothing is changed.
pub async fn a_part_that_may_be_the_last_is_told_so(f: Fixture) {
    if f.backend.chords().is_none() {
        return;
    }
    let ask =
        async |place: i64| unless_last(&f.backend, part("g", &format!("t{place}"), place, &place.to_string())).await;
    assert_eq!(ask(0).await, Some(ChordProgress::Waiting), "it came before the header");
    open(&f, header("g", 3)).await;
    assert_eq!(ask(1).await, Some(ChordProgress::Waiting));
    assert_eq!((ask(2).await, ask(2).await), (None, None));
    assert_eq!(count(&f, "g").await, Some((2, 3)), "it was not counted");
    f.backend.chords().expect("there are chords").grow("g", 1, Some(LONG)).await.expect("could not grow");
    assert_eq!(ask(2).await, Some(ChordProgress::Waiting), "one more is to come");
    assert_eq!(ask(3).await, None);
    assert_eq!(done(&f, part("g", "t3", 3, "3")).await, complete(&["0", "1", "2", "3"]));
    assert_eq!(ask(3).await, None, "all have come, and its body was not sent");
    assert!(end(&f, "g", "t3", ChordEnd::Fired).await);
    assert_eq!(ask(3).await, Some(ChordProgress::Fired));
}

/// Of many that ask at once, one is left uncounted, and none is told that the chord is complete.
pub async fn of_many_callers_none_counts_the_last_part_unasked(f: Fixture) {
    if f.backend.chords().is_none() {
        return;
    }
    open(&f, header("g", 40)).await;
    let parts = (0..40).map(|place| part("g", &format!("t{place}"), place, "1"));
    let mut asked: FuturesUnordered<_> = parts.map(|part| unless_last(&f.backend, part)).collect();
    let mut left = 0;
    while let Some(progress) = asked.next().await {
        match progress {
            None => left += 1,
            progress => assert_eq!(progress, Some(ChordProgress::Waiting)),
        }
    }
    assert_eq!((left, count(&f, "g").await), (1, Some((39, 40))));
}
