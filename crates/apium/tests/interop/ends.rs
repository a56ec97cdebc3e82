//! How tasks end: errors, retries, time limits, expiry, and the states before the end.

use serde_json::{Value, json};

use crate::choices::at;
use crate::kit::read_result::Raised;
use crate::kit::side::Side;

/// The delay of a retry, in seconds. Celery stores RETRY after it has sent the next message, so without a delay the
/// RETRY may overwrite the result of the next run.
pub(crate) const AFTER: f64 = 0.2;

on_every_pair! {
    async fn errors_are_raised_by_their_class(pair: &Pair) {
        let cases = [
            ("tasks.fail", json!(["x"]), "builtins.ValueError", json!(["x"])),
            ("tasks.fail", json!([]), "builtins.ValueError", json!(["boom"])),
            ("tasks.fail_custom", json!([7, "c"]), "tasks.PeerError", json!([7, "c"])),
            ("tasks.fail_custom", json!([{ "k": [1] }]), "tasks.PeerError", json!([{ "k": [1] }, "custom"])),
            ("tasks.always_retry", json!([AFTER]), "builtins.KeyError", json!(["k"])),
        ];
        for (task, args, class, raised) in cases {
            let id = pair.send(task, args).await;
            let seen = pair.get(&id).await;
            assert_eq!(seen.failure(), &Raised::new(class, raised.clone()), "{task}");
            if pair.worker == Side::Python {
                let traceback = seen.traceback.as_deref().unwrap();
                assert!(traceback.starts_with("Traceback (most recent call last):"), "{traceback}");
                let name = class.rsplit('.').next().unwrap();
                assert!(traceback.lines().last().unwrap().contains(name), "{traceback}");
            }
            // `except` catches it by its class and by a base class.
            assert_eq!(pair.caught(&id, class).await, Some(raised.as_array().unwrap().clone()), "{task}");
            assert!(pair.caught(&id, "builtins.Exception").await.is_some());
        }
    }

    async fn python_code_catches_what_it_expects(pair: &Pair) {
        let id = pair.send("tasks.always_retry", json!([AFTER])).await;
        assert_eq!(pair.caught(&id, "builtins.LookupError").await, Some(vec![json!("k")]), "a KeyError is a LookupError");
        let error = pair.rust.result::<i64>(&*id).get().await.unwrap_err();
        assert!(error.failure().unwrap().exception().is("builtins.KeyError"), "{error}");
    }

    async fn arguments_that_do_not_fit_are_a_type_error(pair: &Pair) {
        for (args, kwargs) in [(json!([1]), json!({})), (json!([1, 2, 3]), json!({})), (json!([1]), json!({ "z": 2 }))] {
            let id = pair.call_by_name("tasks.add", args, kwargs).await;
            let seen = pair.get(&id).await;
            assert_eq!(seen.failure().class, "builtins.TypeError");
            let text = seen.failure().args[0].as_str().unwrap();
            assert!(text.starts_with("add() "), "{text}");
        }
        let id = pair.send("tasks.add", json!([1, "a"])).await;
        let text = "unsupported operand type(s) for +: 'int' and 'str'";
        assert_eq!(pair.get(&id).await.failure(), &Raised::new("builtins.TypeError", json!([text])));
    }

    async fn an_unknown_task_is_not_registered(pair: &Pair) {
        let id = pair.send("no.such.task", json!([1])).await;
        let seen = pair.get(&id).await;
        assert_eq!(seen.failure(), &Raised::new("celery.exceptions.NotRegistered", json!(["no.such.task"])));
    }

    async fn retries_run_until_the_task_succeeds_or_none_is_left(pair: &Pair) {
        let done = |retries: u32| json!({ "value": "done", "retries": retries });
        assert_eq!(pair.value("tasks.retry", json!([2, AFTER]), json!({})).await, done(2));
        assert_eq!(pair.value("tasks.retry", json!([1, 0.3]), json!({})).await, done(1));
        let id = pair.send("tasks.retry", json!([9, AFTER])).await;
        assert_eq!(pair.get(&id).await.failure(), &Raised::new("builtins.ValueError", json!(["not yet"])));
    }

    async fn automatic_retries_are_counted_like_others(pair: &Pair) {
        assert_eq!(pair.value("tasks.auto_retry", json!([2]), json!({})).await, json!(2));
        let id = pair.send("tasks.auto_retry", json!([3])).await;
        assert_eq!(pair.get(&id).await.failure(), &Raised::new("builtins.ValueError", json!(["not yet"])));
    }

    async fn the_state_retry_has_the_cause(pair: &Pair) {
        let id = pair.send("tasks.retry", json!([1, 600])).await;
        let reached = tokio::time::timeout(crate::kit::rust_client::PATIENCE, async {
            let mut interval = tokio::time::interval(std::time::Duration::from_millis(20));
            while crate::kit::rust_client::state(&pair.rust, &id).await.0 != "RETRY" {
                interval.tick().await;
            }
        });
        reached.await.expect("the state RETRY");
        let cause = Raised::new("builtins.ValueError", json!(["not yet"])).as_json();
        assert_eq!(pair.state(&id).await, ("RETRY".to_owned(), cause));
    }

    async fn an_expired_task_is_revoked_and_never_runs(pair: &Pair) {
        for options in [
            json!({ "expires": at(-5.0, 330) }),
            json!({ "countdown": 0.6, "expires": 0.2 }),
            json!({ "eta": at(0.7, -570), "expires": at(0.1, 60) }),
        ] {
            let id = pair.call("tasks.add", json!([1, 1]), json!({}), options.clone()).await;
            let seen = pair.get(&id).await;
            assert_eq!(seen.state, "REVOKED", "{options}");
            let expired = Raised::new("celery.exceptions.TaskRevokedError", json!(["expired"]));
            assert_eq!(seen.raised, Some(expired), "{options}");
        }
    }

    async fn a_time_limit_ends_a_task(pair: &Pair) {
        let soft = pair.call("tasks.sleep", json!([60]), json!({}), json!({ "soft_time_limit": 1 })).await;
        let hard = pair.call("tasks.sleep", json!([60]), json!({}), json!({ "time_limit": 1 })).await;
        let own = pair.send("tasks.soft", json!([60])).await;
        for (id, name) in [(soft, "SoftTimeLimitExceeded"), (hard, "TimeLimitExceeded"), (own, "SoftTimeLimitExceeded")] {
            let seen = pair.get(&id).await;
            assert_eq!(seen.failure().class, format!("billiard.exceptions.{name}"));
            assert!(pair.caught(&id, &format!("celery.exceptions.{name}")).await.is_some());
        }
    }

    async fn waiters_get_custom_states(pair: &Pair) {
        let id = pair.send("tasks.progress", json!([4, 0.25])).await;
        let (rust, python) = tokio::join!(pair.read(Side::Rust, &id), pair.read(Side::Python, &id));
        for seen in [&rust, &python] {
            assert_eq!(seen.success(), &json!(4));
            let steps: Vec<&Value> = seen.messages.iter().filter(|message| message.0 == "PROGRESS").map(|message| &message.1).collect();
            assert!(!steps.is_empty() && steps.len() <= 4, "{:?}", seen.messages);
            assert_eq!(*steps[steps.len() - 1], json!({ "current": 4, "total": 4 }), "the last step is received");
            assert_eq!(seen.messages.last().unwrap(), &("SUCCESS".to_owned(), json!(4)));
        }
    }

    async fn started_names_the_worker(pair: &Pair) {
        let id = pair.send("tasks.sleep", json!([0.5])).await;
        let seen = pair.read(Side::Rust, &id).await;
        let started = seen.messages.iter().find(|message| message.0 == "STARTED").expect("STARTED is a message");
        assert!(started.1["pid"].as_u64().is_some(), "{started:?}");
        assert_eq!(started.1["hostname"], "one@peer");
    }

    async fn tasks_that_a_task_sends_are_its_children(pair: &Pair) {
        let id = pair.send("tasks.spawn", json!([3])).await;
        let seen = pair.get(&id).await;
        assert_eq!((seen.success(), seen.children.len()), (&json!(3), 3));
        for (number, child) in seen.children.iter().enumerate() {
            assert_eq!(pair.get(child).await.success(), &json!(2 * number));
        }
    }

    async fn a_rejected_task_has_failed(pair: &Pair) {
        let id = pair.send("tasks.reject", json!([])).await;
        let rejected = Raised::new("celery.exceptions.Reject", json!(["rejected by task", false]));
        assert_eq!(pair.get(&id).await.failure(), &rejected);
    }

    async fn an_ignored_result_is_not_stored(pair: &Pair) {
        let ignored = pair.call("tasks.add", json!([1, 1]), json!({}), json!({ "ignore_result": true })).await;
        let ignores = pair.send("tasks.ignore", json!([])).await;
        // The worker has four slots and starts messages in order: when four later tasks are done, these two are done.
        for _ in 0..4 {
            pair.value("tasks.sleep", json!([0.05]), json!({})).await;
        }
        assert_eq!(pair.state(&ignored).await, ("PENDING".to_owned(), json!(null)));
        let state = pair.state(&ignores).await.0;
        assert!(["PENDING", "STARTED"].contains(&&*state), "{state}");
    }
}
