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
use crate::conformance::kit::{document, until};

/// Longer than any case lasts.
const LONG: Duration = Duration::from_secs(3600);

/// A header of `size` parts.
pub(crate) fn header(group: &str, size: u64) -> ChordHeader {
    ChordHeader { group: group.to_owned(), size, structure: None, ttl: Some(LONG) }
}

/// The part of the task `id`, which returned `result`. Its claimant has the name of the task.
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
    f.chords().open(header).await.expect("could not open the chord");
}

/// Counts a part.
pub(crate) async fn done(f: &Fixture, part: ChordPart) -> ChordProgress {
    done_at(&f.backend, part).await
}

async fn done_at(backend: &SharedBackend, part: ChordPart) -> ChordProgress {
    backend.chords().expect("there are chords").part_done(part).await.expect("could not count the part")
}

async fn end(f: &Fixture, group: &str, claimant: &str, end: ChordEnd) -> bool {
    f.chords().end(group, claimant, end).await.expect("could not end the chord")
}

/// How far a chord is: parts that ended, parts in all.
pub(crate) async fn count(f: &Fixture, group: &str) -> Option<(u64, u64)> {
    let count = f.chords().count(group).await.expect("could not count the parts");
    count.map(|ChordCount { done, size }| (done, size))
}

/// Stores the result of a task, a JSON text.
async fn store(f: &Fixture, id: &str, result: &str) {
    let mut document = document(id, State::Success, "");
    document.result = json(result);
    f.backend.store(vec![ResultRecord::new(document)]).await.expect("could not store");
}

/// The last part brings the results of all parts, in the order of the header.
pub async fn the_last_part_brings_all_results(f: Fixture) {
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

/// Parts without an index come after the others.
pub async fn parts_without_an_index_come_last(f: Fixture) {
    open(&f, header("g", 3)).await;
    for (id, place) in [("a", None), ("b", Some(7))] {
        let part = ChordPart { group_index: place, ..part("g", id, 0, &format!(r#""{id}""#)) };
        assert_eq!(done(&f, part).await, ChordProgress::Waiting);
    }
    let last = ChordPart { group_index: None, ..part("g", "c", 0, r#""c""#) };
    assert_eq!(done(&f, last).await, complete(&[r#""b""#, r#""a""#, r#""c""#]));
}

/// A part counts once, however often it comes. But a header may contain one task several times.
pub async fn a_part_counts_once(f: Fixture) {
    open(&f, header("g", 3)).await;
    for _ in 0..4 {
        assert_eq!(done(&f, part("g", "a", 0, "1")).await, ChordProgress::Waiting);
    }
    assert_eq!(count(&f, "g").await, Some((1, 3)));
    assert_eq!(done(&f, part("g", "a", 1, "1")).await, ChordProgress::Waiting);
    assert_eq!(count(&f, "g").await, Some((2, 3)));
    assert_eq!(done(&f, part("g", "b", 2, "2")).await, complete(&["1", "1", "2"]));
}

/// Parts may come before the header. Then the chord is complete for whoever counts a part again.
pub async fn parts_may_come_before_the_header(f: Fixture) {
    assert_eq!(done(&f, part("g", "a", 0, "1")).await, ChordProgress::Waiting);
    assert_eq!(count(&f, "g").await, None, "it is not open");
    open(&f, header("g", 1)).await;
    assert_eq!(count(&f, "g").await, Some((1, 1)));
    assert_eq!(done(&f, part("g", "a", 0, "1")).await, complete(&["1"]));
}

/// Opening a chord again loses nothing of what was counted.
pub async fn opening_again_loses_nothing(f: Fixture) {
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

/// If a header contains groups, the results are nested like it.
pub async fn results_nest_like_the_header(f: Fixture) {
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

/// A task of such a header without any result fails the chord. If another system counted its part, its stored result is
/// read.
pub async fn a_missing_result_fails_a_nested_header(f: Fixture) {
    open(&f, nested()).await;
    // Four parts come, but none of them is that of `c`.
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

/// One caller has the claim on the body and keeps it. Nobody else can end the chord.
pub async fn one_claim_at_a_time(f: Fixture) {
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

/// When a claim has run out, the next one who asks has it.
pub async fn a_claim_runs_out(f: Fixture) {
    open(&f, header("g", 2)).await;
    assert_eq!(done(&f, part("g", "a", 0, "1")).await, ChordProgress::Waiting);
    let short = ChordPart { claim: f.tick(), ..part("g", "b", 1, "2") };
    assert_eq!(done(&f, short).await, complete(&["1", "2"]));
    f.advance(f.tick() * 2);
    let free = async || done(&f, part("g", "a", 0, "1")).await == complete(&["1", "2"]);
    until("the claim has run out", free).await;
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

/// After the body was sent, parts that come again find the chord fired, and nothing is counted any more.
pub async fn a_fired_chord_says_so(f: Fixture) {
    fire(&f, "g").await;
    for again in [part("g", "a", 0, "1"), part("g", "b", 1, "2"), part("g", "late", 2, "3"), failed("g", "a", 0)] {
        assert_eq!(done(&f, again).await, ChordProgress::Fired);
    }
    assert_eq!(count(&f, "g").await, None);
    fire(&f, "another").await;
}

/// Opening a chord again after its body was sent changes nothing: copies of its tasks must not send the body again.
pub async fn a_fired_chord_is_not_opened_again(f: Fixture) {
    fire(&f, "g").await;
    open(&f, header("g", 2)).await;
    assert_eq!(count(&f, "g").await, None);
    assert_eq!(done(&f, part("g", "a", 0, "1")).await, ChordProgress::Fired);
    assert_eq!(done(&f, part("g", "b", 1, "2")).await, ChordProgress::Fired);
}

/// A chord stays fired for a while, even if what was counted is kept for less long.
pub async fn a_fired_chord_is_known_for_a_while(f: Fixture) {
    open(&f, ChordHeader { ttl: Some(f.tick()), ..header("g", 1) }).await;
    let only = ChordPart { ttl: Some(f.tick()), ..part("g", "a", 0, "1") };
    assert_eq!(done(&f, only.clone()).await, complete(&["1"]));
    assert!(end(&f, "g", "a", ChordEnd::Fired).await);
    f.advance(f.tick() * 2);
    assert_eq!(done(&f, only.clone()).await, ChordProgress::Fired);
    f.advance(FIRED_FOR);
    open(&f, header("g", 1)).await;
    assert_eq!(done(&f, only).await, complete(&["1"]), "then it may begin anew");
}

/// A part that has not returned fails the chord when all parts have come; the first such part in the order of the
/// header counts.
pub async fn a_failed_part_fails_the_chord(f: Fixture) {
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
    open(&f, header("g", 2)).await;
    assert_eq!(done(&f, failed("g", "a", 0)).await, ChordProgress::Waiting);
    let last = part("g", "b", 1, "2");
    assert_eq!(done(&f, last.clone()).await, failure("a"));
    assert_eq!(done(&f, last.clone()).await, failure("a"), "the claimant asks again");
    assert!(!end(&f, "g", "a", ChordEnd::Failed).await, "only the claimant ends the chord");
    assert!(end(&f, "g", "b", ChordEnd::Failed).await);
    assert_eq!(count(&f, "g").await, None);
    for again in [failed("g", "a", 0), part("g", "a", 0, "1"), last] {
        assert_eq!(done(&f, again).await, ChordProgress::Waiting);
    }
}

/// A claim that has run out ends nothing, even if nobody else has claimed the body since; the claimant may claim it
/// again.
pub async fn a_claim_that_ran_out_ends_nothing(f: Fixture) {
    open(&f, header("g", 2)).await;
    assert_eq!(done(&f, failed("g", "a", 0)).await, ChordProgress::Waiting);
    let short = ChordPart { claim: f.moment(), ..part("g", "b", 1, "2") };
    assert_eq!(done(&f, short.clone()).await, failure("a"));
    let over = f.after(f.moment() * 2);
    f.advance(f.moment() * 2);
    until("the claim has run out", async || f.clock.now() >= over).await;
    assert!(!end(&f, "g", "b", ChordEnd::Failed).await);
    assert_eq!(done(&f, short).await, failure("a"));
    assert_eq!(done(&f, part("g", "b", 1, "2")).await, failure("a"));
    assert!(end(&f, "g", "b", ChordEnd::Failed).await);
}

/// A chord that grows while it runs waits for the added parts too.
pub async fn a_chord_can_grow(f: Fixture) {
    grow(&f, "x").await;
    assert_eq!(count(&f, "g").await, None, "it is not open");
    open(&f, header("g", 1)).await;
    assert_eq!(count(&f, "g").await, Some((0, 2)));
    assert_eq!(done(&f, part("g", "a", 0, "1")).await, ChordProgress::Waiting);
    grow(&f, "y").await;
    grow(&f, "z").await;
    assert_eq!(count(&f, "g").await, Some((1, 4)));
    for (place, id) in [(1, "b"), (2, "c")] {
        assert_eq!(done(&f, part("g", id, place, "2")).await, ChordProgress::Waiting);
    }
    assert_eq!(done(&f, part("g", "d", 3, "3")).await, complete(&["1", "2", "2", "3"]));
}

async fn grow(f: &Fixture, added: &str) {
    f.chords().grow("g", &added.into(), Some(LONG)).await.expect("could not add a part");
}

/// Whoever adds a part asks again when the answer was lost, and when its run is repeated after a crash: the part counts
/// once.
pub async fn a_part_that_is_added_twice_counts_once(f: Fixture) {
    open(&f, header("g", 1)).await;
    for _ in 0..3 {
        grow(&f, "b").await;
    }
    assert_eq!(count(&f, "g").await, Some((0, 2)));
    // One that is counted already, too.
    assert_eq!(done(&f, part("g", "b", 1, "2")).await, ChordProgress::Waiting);
    grow(&f, "b").await;
    assert_eq!(count(&f, "g").await, Some((1, 2)));
    assert_eq!(done(&f, part("g", "a", 0, "1")).await, complete(&["1", "2"]));
    assert!(end(&f, "g", "a", ChordEnd::Fired).await);
    // A chord that has ended does not begin anew.
    grow(&f, "c").await;
    assert_eq!(count(&f, "g").await, None);
    assert_eq!(done(&f, part("g", "c", 0, "3")).await, ChordProgress::Fired);
}

/// The count of a chord can be read while it is open.
pub async fn an_open_chord_can_be_counted(f: Fixture) {
    assert_eq!(count(&f, "g").await, None);
    open(&f, header("g", 2)).await;
    assert_eq!(count(&f, "g").await, Some((0, 2)));
    assert_eq!(done(&f, failed("g", "a", 0)).await, ChordProgress::Waiting);
    assert_eq!(count(&f, "g").await, Some((1, 2)));
    assert_eq!(count(&f, "G").await, None);
}

/// What was counted is kept for its time, and forgotten then.
pub async fn a_chord_is_kept_for_its_time(f: Fixture) {
    open(&f, ChordHeader { ttl: Some(f.tick()), ..header("short", 2) }).await;
    let short = ChordPart { ttl: Some(f.tick()), ..part("short", "a", 0, "1") };
    assert_eq!(done(&f, short).await, ChordProgress::Waiting);
    f.advance(f.tick() * 2);
    until("the chord is forgotten", async || count(&f, "short").await.is_none()).await;
    open(&f, header("short", 2)).await;
    assert_eq!(done(&f, part("short", "b", 1, "2")).await, ChordProgress::Waiting, "its first part is forgotten");
    open(&f, ChordHeader { ttl: None, ..header("for ever", 1) }).await;
    f.advance(f.tick() * 2);
    let only = ChordPart { ttl: None, ..part("for ever", "a", 0, "1") };
    assert_eq!(done(&f, only).await, complete(&["1"]));
}

/// The time of a chord begins anew with each part.
pub async fn each_part_keeps_its_chord_longer(f: Fixture) {
    open(&f, ChordHeader { ttl: Some(f.tick()), ..header("g", 2) }).await;
    assert_eq!(done(&f, part("g", "a", 0, "1")).await, ChordProgress::Waiting);
    f.advance(f.tick() * 2);
    assert_eq!(count(&f, "g").await, Some((1, 2)));
}

/// Of many callers that count parts at once, through several handles, one finds the chord complete.
pub async fn many_callers_complete_a_chord_once(f: Fixture) {
    let other = f.reopen().await.backend;
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
        let mut completed = 0;
        while let Some(progress) = parts.next().await {
            if progress == wanted {
                completed += 1;
            } else {
                assert_eq!(progress, ChordProgress::Waiting);
            }
        }
        assert_eq!(completed, 1);
    }
}

async fn unless_last(backend: &SharedBackend, part: ChordPart) -> Option<ChordProgress> {
    backend.chords().expect("there are chords").part_unless_last(part).await.expect("could not count the part")
}

/// A part is counted unless it may be the last one; then nothing is changed.
pub async fn a_part_that_may_be_the_last_is_not_counted(f: Fixture) {
    let ask =
        async |place: i64| unless_last(&f.backend, part("g", &format!("t{place}"), place, &place.to_string())).await;
    assert_eq!(ask(0).await, Some(ChordProgress::Waiting), "it came before the header");
    open(&f, header("g", 3)).await;
    assert_eq!(ask(1).await, Some(ChordProgress::Waiting));
    assert_eq!((ask(2).await, ask(2).await), (None, None));
    assert_eq!(count(&f, "g").await, Some((2, 3)), "it was not counted");
    grow(&f, "x").await;
    assert_eq!(ask(2).await, Some(ChordProgress::Waiting), "one more is to come");
    assert_eq!(ask(3).await, None);
    assert_eq!(done(&f, part("g", "t3", 3, "3")).await, complete(&["0", "1", "2", "3"]));
    assert_eq!(ask(3).await, None, "all have come, and its body was not sent");
    assert!(end(&f, "g", "t3", ChordEnd::Fired).await);
    assert_eq!(ask(3).await, Some(ChordProgress::Fired));
}

/// Of many callers at once, one part stays uncounted, and no caller finds the chord complete.
pub async fn of_many_callers_none_counts_the_last_part(f: Fixture) {
    open(&f, header("g", 40)).await;
    let parts = (0..40).map(|place| part("g", &format!("t{place}"), place, "1"));
    let mut asked: FuturesUnordered<_> = parts.map(|part| unless_last(&f.backend, part)).collect();
    let mut uncounted = 0;
    while let Some(progress) = asked.next().await {
        match progress {
            None => uncounted += 1,
            progress => assert_eq!(progress, Some(ChordProgress::Waiting)),
        }
    }
    assert_eq!((uncounted, count(&f, "g").await), (1, Some((39, 40))));
}
