//! Results and saved groups: storing under the overwrite rule, reading, forgetting, time to live.

use std::collections::BTreeMap;

use apium_protocol::json::text::Json;
use apium_protocol::message::task_id::TaskId;
use apium_protocol::result::document::{Extended, GroupDocument, ResultTuple};
use apium_protocol::result::state::State;

use crate::backend::backend::{ResultRecord, RunVersion, StoreResult, may_replace};
use crate::conformance::fixture::Fixture;
use crate::conformance::kit::{document, record, run, state_of, until};

async fn store(f: &Fixture, records: Vec<ResultRecord>) -> Vec<StoreResult> {
    let count = records.len();
    let stored = f.backend.store(records).await.expect("could not store");
    assert_eq!(stored.len(), count, "one answer for each record");
    stored
}

fn tuple(id: &str, parent: Option<ResultTuple>, children: Option<Vec<ResultTuple>>) -> ResultTuple {
    let mut tuple = ResultTuple::task(TaskId::from(id));
    tuple.parent = parent.map(Box::new);
    tuple.children = children;
    tuple
}

/// Documents come in the order of the ids. An unknown id has none, and an id that is asked for twice has two.
pub async fn fetch_answers_each_id(f: Fixture) {
    store(&f, vec![record("a", State::Success, None), record("b", State::Failure, None)]).await;
    let ids: Vec<TaskId> = ["b", "missing", "a", "b"].into_iter().map(TaskId::from).collect();
    let found = f.stored().fetch(&ids).await.expect("could not fetch");
    let found: Vec<_> = found.iter().map(|document| document.as_ref().map(|document| &document.state)).collect();
    assert_eq!(found, [Some(&State::Failure), None, Some(&State::Success), Some(&State::Failure)]);
    assert!(f.stored().fetch(&[]).await.expect("could not fetch nothing").is_empty());
    assert!(store(&f, Vec::new()).await.is_empty());
}

/// Every field of a document comes out as it went in.
pub async fn a_document_comes_out_as_it_went_in(f: Fixture) {
    let json = |text: &str| Json::from_serialize(text).expect("a text is JSON");
    let mut extended = Extended::default();
    extended.name = Some("tasks.add".to_owned());
    extended.args = Some(json("args"));
    extended.kwargs = Some(json("kwargs"));
    extended.worker = Some("w1@host".to_owned());
    extended.retries = Some(2);
    extended.queue = Some("celery".to_owned());
    let mut whole = document("whole", State::Custom("PROGRESS".into()), "漢字 \u{0} \"");
    whole.traceback = Some("Traceback …\n  ü\n".to_owned());
    whole.children = Some(vec![
        tuple("child", Some(tuple("parent", None, None)), None),
        tuple("group", None, Some(vec![tuple("member", None, None)])),
    ]);
    whole.date_done = Some("2026-01-02T03:04:05.000006+00:00".to_owned());
    whole.group_id = Some("group".to_owned());
    whole.parent_id = Some(TaskId::from("parent"));
    whole.extended = Some(Box::new(extended));
    whole.extra = BTreeMap::from([("tenant".to_owned(), json("seven")), ("nothing".to_owned(), Json::NULL)]);
    let bare = document("bare", State::Success, "");
    let mut no_children = document("none", State::Success, "x");
    no_children.children = Some(Vec::new());
    let all = [whole, bare, no_children];
    let records = all.iter().map(|document| ResultRecord::new(document.clone()));
    store(&f, records.collect()).await;
    let ids: Vec<TaskId> = all.iter().map(|document| document.task_id.clone()).collect();
    let found: Vec<_> = f.stored().fetch(&ids).await.expect("could not fetch").into_iter().flatten().collect();
    assert_eq!(found, all);
}

/// A value of ten megabytes is stored.
pub async fn ten_megabytes_are_stored(f: Fixture) {
    let large = document("large", State::Success, &"ä0\"".repeat(2_500_000));
    store(&f, vec![ResultRecord::new(large.clone())]).await;
    let found = f.stored().fetch(std::slice::from_ref(&large.task_id)).await.expect("could not fetch");
    assert!(found[0].as_ref() == Some(&large), "the large result came out changed");
}

/// Ids can be any text, and no two of them are taken for each other.
pub async fn odd_ids_are_kept_apart(f: Fixture) {
    let uuid = "0b0e5f1c-8a5f-4a0e-9a3c-6f1f3d1c2b4a";
    let long = "i".repeat(20_000);
    let (longer, upper, plain) = (format!("{long}i"), uuid.to_uppercase(), uuid.replace('-', ""));
    let braced = format!("{{{uuid}}}");
    let ids = [uuid, &upper, &plain, &braced, "", " ", "\u{0}", "1", "01", "日本", "'; --", &long, &longer];
    let records = ids.iter().map(|id| ResultRecord::new(document(id, State::Success, id)));
    store(&f, records.collect()).await;
    let keys: Vec<TaskId> = ids.iter().copied().map(TaskId::from).collect();
    let found = f.stored().fetch(&keys).await.expect("could not fetch");
    for (id, found) in ids.iter().zip(found) {
        assert_eq!(found, Some(document(id, State::Success, id)));
    }
}

/// The overwrite rule holds for every pair of states and runs.
pub async fn the_overwrite_rule_holds_for_every_pair(f: Fixture) {
    let states = ["PENDING", "STARTED", "PROGRESS", "ABORTED", "RETRY", "SUCCESS", "FAILURE", "REVOKED"];
    let states = states.map(State::from);
    let runs = [None, run(0, 1), run(0, 2), run(1, 1), run(1, u64::MAX)];
    let writes: Vec<(&State, Option<RunVersion>)> =
        states.iter().flat_map(|state| runs.iter().map(move |run| (state, *run))).collect();
    let mut pairs = Vec::new();
    for old in &writes {
        for new in &writes {
            pairs.push((format!("pair-{}", pairs.len()), *old, *new));
        }
    }
    let record = |id: &str, (state, run): (&State, Option<RunVersion>), result: &str| ResultRecord {
        run,
        ..ResultRecord::new(document(id, state.clone(), result))
    };
    let first = store(&f, pairs.iter().map(|(id, old, _)| record(id, *old, "old")).collect()).await;
    assert!(first.iter().all(|stored| *stored == StoreResult::Written));
    let second = store(&f, pairs.iter().map(|(id, _, new)| record(id, *new, "new")).collect()).await;
    let ids: Vec<TaskId> = pairs.iter().map(|(id, ..)| TaskId::from(id.as_str())).collect();
    let found = f.stored().fetch(&ids).await.expect("could not fetch");
    for (((id, old, new), stored), found) in pairs.iter().zip(second).zip(found) {
        let (wanted, document) = match may_replace(*old, *new) {
            true => (StoreResult::Written, document(id, new.0.clone(), "new")),
            false => (StoreResult::Refused, document(id, old.0.clone(), "old")),
        };
        assert_eq!((stored, found), (wanted, Some(document)), "{old:?} then {new:?}");
    }
}

/// The overwrite rule compares with the run of the last write.
pub async fn the_last_written_run_counts(f: Fixture) {
    let history = [
        (State::Started, run(0, 1), StoreResult::Written),
        (State::Retry, run(0, 1), StoreResult::Written),
        (State::Started, run(1, 2), StoreResult::Written),
        (State::Retry, run(0, 1), StoreResult::Refused),
        (State::Failure, run(1, 2), StoreResult::Written),
        (State::Started, run(1, 2), StoreResult::Refused),
        (State::Started, run(1, 3), StoreResult::Written),
        (State::Success, run(1, 3), StoreResult::Written),
        (State::Started, run(9, 9), StoreResult::Refused),
        (State::Failure, run(9, 9), StoreResult::Refused),
    ];
    let mut last = None;
    for (state, run, wanted) in history {
        let stored = store(&f, vec![record("t", state.clone(), run)]).await;
        assert_eq!(stored, [wanted], "{state} of {run:?}");
        last = if wanted == StoreResult::Written { Some(state) } else { last };
        assert_eq!(state_of(&f, "t").await, last);
    }
}

/// The records of one batch are written in the order given.
pub async fn a_batch_is_written_in_order(f: Fixture) {
    let batch = vec![
        record("t", State::Started, run(0, 1)),
        record("t", State::Success, run(0, 1)),
        record("t", State::Failure, run(0, 1)),
    ];
    assert_eq!(store(&f, batch).await, [StoreResult::Written, StoreResult::Written, StoreResult::Refused]);
    assert_eq!(state_of(&f, "t").await, Some(State::Success));
}

/// A result is gone after its time.
pub async fn a_result_is_gone_after_its_time(f: Fixture) {
    let ttl = Some(f.tick());
    store(&f, vec![ResultRecord { ttl, ..record("t", State::Success, None) }, record("ever", State::Success, None)])
        .await;
    f.advance(f.tick() * 2);
    until("the result is gone", async || state_of(&f, "t").await.is_none()).await;
    assert_eq!(state_of(&f, "ever").await, Some(State::Success));
    let again = store(&f, vec![record("t", State::Started, None)]).await;
    assert_eq!(again, [StoreResult::Written], "over a result that is gone");
}

/// A result is kept until its time has passed.
pub async fn a_result_is_kept_for_its_time(f: Fixture) {
    let ttl = Some(f.tick() * 2);
    store(&f, vec![ResultRecord { ttl, ..record("t", State::Success, None) }]).await;
    f.advance(f.tick());
    assert_eq!(state_of(&f, "t").await, Some(State::Success));
    f.advance(f.tick() * 2);
    assert_eq!(state_of(&f, "t").await, None);
}

/// Purging leaves what has time left, and purges nothing twice.
pub async fn purging_leaves_what_has_time(f: Fixture) {
    let with = |id: &str, ttl| ResultRecord { ttl, ..record(id, State::Success, None) };
    store(&f, vec![with("short", Some(f.tick())), with("long", Some(f.tick() * 1000)), with("ever", None)]).await;
    f.advance(f.tick() * 2);
    until("the result is gone", async || state_of(&f, "short").await.is_none()).await;
    assert!(f.stored().purge_expired().await.expect("could not purge") <= 1);
    assert_eq!(f.stored().purge_expired().await.expect("could not purge"), 0);
    assert_eq!(state_of(&f, "short").await, None);
    assert_eq!(state_of(&f, "long").await, Some(State::Success));
    assert_eq!(state_of(&f, "ever").await, Some(State::Success));
}

/// A forgotten result is gone, also a final one, and can be stored again. Forgetting a missing result is no error.
pub async fn forget_deletes(f: Fixture) {
    store(&f, vec![record("a", State::Success, run(3, 3)), record("b", State::Success, None)]).await;
    let ids = vec![TaskId::from("a"), TaskId::from("missing")];
    f.stored().forget(ids).await.expect("could not forget");
    assert_eq!((state_of(&f, "a").await, state_of(&f, "b").await), (None, Some(State::Success)));
    assert_eq!(store(&f, vec![record("a", State::Started, run(0, 1))]).await, [StoreResult::Written]);
}

async fn load(f: &Fixture, id: &str) -> Option<GroupDocument> {
    f.groups().load_group(id).await.expect("could not load")
}

/// A saved group comes out as it went in, can be replaced and deleted, and is gone after its time.
pub async fn groups_are_saved(f: Fixture) {
    let groups = f.groups();
    let members = vec![tuple("a", None, None), tuple("b", None, None)];
    let group = GroupDocument::new(tuple("g", Some(tuple("p", None, None)), Some(members)));
    let empty = GroupDocument::new(tuple("g", None, Some(Vec::new())));
    assert_eq!(load(&f, "g").await, None);
    groups.save_group("g", group.clone(), None).await.expect("could not save");
    groups.save_group("日本", empty.clone(), Some(f.tick() * 1000)).await.expect("could not save");
    groups.save_group("short", empty.clone(), Some(f.tick())).await.expect("could not save");
    assert_eq!((load(&f, "g").await, load(&f, "日本").await), (Some(group), Some(empty.clone())));
    groups.save_group("g", empty.clone(), None).await.expect("could not replace");
    f.advance(f.tick() * 2);
    until("the group is gone", async || load(&f, "short").await.is_none()).await;
    assert_eq!((load(&f, "g").await, load(&f, "日本").await), (Some(empty.clone()), Some(empty)));
    groups.delete_group("g").await.expect("could not delete");
    groups.delete_group("g").await.expect("could not delete what is gone");
    assert_eq!(load(&f, "g").await, None);
}
