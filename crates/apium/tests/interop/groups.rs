//! Groups: sent by one side, saved, restored and read by the other.

use apium::prelude::*;
use serde_json::{Value, json};

use crate::lane::{Lane, texts};
use crate::rust::{PATIENCE, signature, value};
use crate::seen::Raised;
use crate::side::Side;

/// Sends a group of one task and saves it: its id and those of its members.
async fn send_saved(lane: &Lane, task: &str, args: &Value) -> (String, Vec<String>) {
    match lane.producer {
        Side::Rust => {
            let each = args.as_array().unwrap().iter();
            let members = each.map(|args| signature(&lane.rust, task, args, &json!({}), &json!({})));
            let sent = group(members).send(&lane.rust).await.unwrap();
            sent.save().await.unwrap();
            (sent.id().to_string(), sent.iter().map(|member| member.id().to_string()).collect())
        }
        Side::Python => {
            let request = json!({ "do": "send_group", "task": task, "args": args, "save": true });
            let sent = lane.python.ask(request).await;
            (sent["id"].as_str().unwrap().to_owned(), texts(&sent["members"]))
        }
    }
}

/// A saved group as both sides restore it: members and values, exceptions among them.
async fn restored(lane: &Lane, id: &str) -> (Vec<String>, Vec<Value>) {
    let restored = GroupResult::<Json>::restore(&lane.rust, id).await.unwrap().expect("it is saved");
    let members: Vec<String> = restored.iter().map(|member| member.id().to_string()).collect();
    let mut values = Vec::new();
    for outcome in restored.get().timeout(PATIENCE).outcomes().await.unwrap() {
        values.push(match outcome.failure() {
            Some(failure) => {
                let exception = failure.exception();
                let class = format!("{}.{}", exception.exc_module.as_deref().unwrap(), exception.exc_type);
                Raised { class, args: exception.exc_message.iter().map(value).collect() }.as_json()
            }
            None => value(&outcome.value().unwrap()),
        });
    }
    let answer = lane.python.ask(json!({ "do": "restore_group", "id": id })).await;
    let read = |shown: &Value| Raised::read(shown).map_or_else(|| shown.clone(), |raised| raised.as_json());
    let python: Vec<Value> = answer["values"].as_array().unwrap().iter().map(read).collect();
    assert_eq!((&members, &values), (&texts(&answer["members"]), &python), "Rust and Python restore the same");
    (members, values)
}

on_every_lane! {
    async fn a_group_is_restored_by_the_other_side(lane: &Lane) {
        let (id, members) = send_saved(lane, "tasks.add", &json!([[0, 0], [1, 1], [2, 2], ["a", "b"]])).await;
        let (found, values) = restored(lane, &id).await;
        assert_eq!(found, members, "in the order of its members");
        assert_eq!(values, [json!(0), json!(2), json!(4), json!("ab")]);
    }

    async fn a_failed_member_keeps_its_place(lane: &Lane) {
        let (id, _) = send_saved(lane, "tasks.mul", &json!([[2, 3], ["a", "b"], [4, 5]])).await;
        let (_, values) = restored(lane, &id).await;
        assert_eq!((&values[0], &values[2]), (&json!(6), &json!(20)));
        assert_eq!(values[1]["class"], "builtins.TypeError");
    }

    async fn members_know_their_group_and_their_place(lane: &Lane) {
        let (id, members) = send_saved(lane, "tasks.whoami", &json!([[], [], []])).await;
        let (_, values) = restored(lane, &id).await;
        for (place, (member, seen)) in members.iter().zip(&values).enumerate() {
            let expected = (&json!(member), &json!(id), &json!(place), &json!(member));
            assert_eq!((&seen["id"], &seen["group"], &seen["group_index"], &seen["root_id"]), expected);
        }
    }

    async fn results_are_told_of_all_members(lane: &Lane) {
        let (id, members) = send_saved(lane, "tasks.add", &json!([[1, 1], [2, 2]])).await;
        let restored = GroupResult::<i64>::restore(&lane.rust, &id).await.unwrap().unwrap();
        let (tell, told) = std::sync::mpsc::sync_channel(100);
        let get = restored.get().timeout(PATIENCE).on_message(move |message: &ResultDocument| {
            tell.try_send(serde_json::to_value(message).unwrap()).unwrap();
        });
        assert_eq!(get.await.unwrap(), [2, 4]);
        let told: Vec<Value> = told.try_iter().filter(|message| message["status"] == "SUCCESS").collect();
        for member in &members {
            assert!(told.iter().any(|message| message["task_id"] == json!(member)), "{told:?}");
        }
    }
}
