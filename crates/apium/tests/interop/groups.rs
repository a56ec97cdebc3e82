//! Groups: sent and saved by one side, restored and read by the other.

use apium::prelude::*;
use serde_json::{Value, json};

use crate::kit::pair::{Pair, texts};
use crate::kit::read_result::Raised;
use crate::kit::rust_client::{PATIENCE, signature, value};
use crate::kit::side::Side;

/// Sends and saves a group of calls of one task. Returns its id and the ids of its members.
async fn send_saved(pair: &Pair, task: &str, args: &Value) -> (String, Vec<String>) {
    match pair.producer {
        Side::Rust => {
            let each = args.as_array().unwrap().iter();
            let members = each.map(|args| signature(&pair.rust, task, args, &json!({}), &json!({})));
            let sent = group(members).send(&pair.rust).await.unwrap();
            sent.save().await.unwrap();
            (sent.id().to_string(), sent.iter().map(|member| member.id().to_string()).collect())
        }
        Side::Python => {
            let request = json!({ "do": "send_group", "task": task, "args": args, "save": true });
            let sent = pair.python.ask(request).await;
            (sent["id"].as_str().unwrap().to_owned(), texts(&sent["members"]))
        }
    }
}

/// Restores a saved group on both sides. Returns its members and values, with exceptions as values.
async fn restored(pair: &Pair, id: &str) -> (Vec<String>, Vec<Value>) {
    let restored = GroupResult::<Json>::restore(&pair.rust, id).await.unwrap().expect("the group is saved");
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
    let answer = pair.python.ask(json!({ "do": "restore_group", "id": id })).await;
    let read = |shown: &Value| Raised::read(shown).map_or_else(|| shown.clone(), |raised| raised.as_json());
    let python: Vec<Value> = answer["values"].as_array().unwrap().iter().map(read).collect();
    assert_eq!((&members, &values), (&texts(&answer["members"]), &python), "Rust and Python restore the same");
    (members, values)
}

on_every_pair! {
    async fn a_group_is_restored_by_the_other_side(pair: &Pair) {
        let (id, members) = send_saved(pair, "tasks.add", &json!([[0, 0], [1, 1], [2, 2], ["a", "b"]])).await;
        let (found, values) = restored(pair, &id).await;
        assert_eq!(found, members, "in the order of its members");
        assert_eq!(values, [json!(0), json!(2), json!(4), json!("ab")]);
    }

    async fn a_failed_member_keeps_its_position(pair: &Pair) {
        let (id, _) = send_saved(pair, "tasks.mul", &json!([[2, 3], ["a", "b"], [4, 5]])).await;
        let (_, values) = restored(pair, &id).await;
        assert_eq!((&values[0], &values[2]), (&json!(6), &json!(20)));
        assert_eq!(values[1]["class"], "builtins.TypeError");
    }

    async fn members_have_their_group_and_their_index(pair: &Pair) {
        let (id, members) = send_saved(pair, "tasks.whoami", &json!([[], [], []])).await;
        let (_, values) = restored(pair, &id).await;
        for (index, (member, seen)) in members.iter().zip(&values).enumerate() {
            let expected = (&json!(member), &json!(id), &json!(index), &json!(member));
            assert_eq!((&seen["id"], &seen["group"], &seen["group_index"], &seen["root_id"]), expected);
        }
    }

    async fn on_message_gets_the_results_of_all_members(pair: &Pair) {
        let (id, members) = send_saved(pair, "tasks.add", &json!([[1, 1], [2, 2]])).await;
        let restored = GroupResult::<i64>::restore(&pair.rust, &id).await.unwrap().unwrap();
        let (sender, receiver) = std::sync::mpsc::sync_channel(100);
        let get = restored.get().timeout(PATIENCE).on_message(move |message: &ResultDocument| {
            sender.try_send(serde_json::to_value(message).unwrap()).unwrap();
        });
        assert_eq!(get.await.unwrap(), [2, 4]);
        let ready: Vec<Value> = receiver.try_iter().filter(|message| message["status"] == "SUCCESS").collect();
        for member in &members {
            assert!(ready.iter().any(|message| message["task_id"] == json!(member)), "{ready:?}");
        }
    }
}
