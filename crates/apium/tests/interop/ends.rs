//! How tasks end: errors, retries, limits, expiry, and the states in between.

use serde_json::{Value, json};

use crate::choices::at;
use crate::seen::Raised;
use crate::side::Side;

/// How long a retry waits, in seconds. Celery stores RETRY after it has sent the next run, so where there is no wait the end of
/// that run may be overwritten by the RETRY of the one before.
pub(crate) const AFTER: f64 = 0.2;

on_every_lane! {
    async fn errors_are_raised_by_their_class(lane: &Lane) {
        let cases = [
            ("tasks.fail", json!(["x"]), "builtins.ValueError", json!(["x"])),
            ("tasks.fail", json!([]), "builtins.ValueError", json!(["boom"])),
            ("tasks.fail_custom", json!([7, "c"]), "tasks.PeerError", json!([7, "c"])),
            ("tasks.fail_custom", json!([{ "k": [1] }]), "tasks.PeerError", json!([{ "k": [1] }, "custom"])),
            ("tasks.always_retry", json!([AFTER]), "builtins.KeyError", json!(["k"])),
        ];
        for (task, args, class, raised) in cases {
            let id = lane.send(task, args).await;
            let seen = lane.get(&id).await;
            assert_eq!(seen.failure(), &Raised::new(class, raised.clone()), "{task}");
            if lane.worker == Side::Python {
                let traceback = seen.traceback.as_deref().unwrap();
                assert!(traceback.starts_with("Traceback (most recent call last):"), "{traceback}");
                let name = class.rsplit('.').next().unwrap();
                assert!(traceback.lines().last().unwrap().contains(name), "{traceback}");
            }
            // `except` takes it, by the class itself and by what that is a kind of; not by another.
            assert_eq!(lane.caught(&id, class).await, Some(raised.as_array().unwrap().clone()), "{task}");
            assert!(lane.caught(&id, "builtins.Exception").await.is_some());
        }
    }

    async fn python_code_catches_what_it_expects(lane: &Lane) {
        let id = lane.send("tasks.always_retry", json!([AFTER])).await;
        assert_eq!(lane.caught(&id, "builtins.LookupError").await, Some(vec![json!("k")]), "a KeyError is one");
        let error = lane.rust.result::<i64>(&*id).get().await.unwrap_err();
        assert!(error.failure().unwrap().exception().is("builtins.KeyError"), "{error}");
    }

    async fn arguments_that_do_not_fit_are_a_type_error(lane: &Lane) {
        for (args, kwargs) in [(json!([1]), json!({})), (json!([1, 2, 3]), json!({})), (json!([1]), json!({ "z": 2 }))] {
            let id = lane.call_by_name("tasks.add", args, kwargs).await;
            let seen = lane.get(&id).await;
            assert_eq!(seen.failure().class, "builtins.TypeError");
            let text = seen.failure().args[0].as_str().unwrap();
            assert!(text.starts_with("add() "), "{text}");
        }
        let id = lane.send("tasks.add", json!([1, "a"])).await;
        let text = "unsupported operand type(s) for +: 'int' and 'str'";
        assert_eq!(lane.get(&id).await.failure(), &Raised::new("builtins.TypeError", json!([text])));
    }

    async fn an_unknown_task_is_not_registered(lane: &Lane) {
        let id = lane.send("no.such.task", json!([1])).await;
        let seen = lane.get(&id).await;
        assert_eq!(seen.failure(), &Raised::new("celery.exceptions.NotRegistered", json!(["no.such.task"])));
    }

    async fn retries_run_until_the_task_succeeds_or_none_is_left(lane: &Lane) {
        let done = |retries: u32| json!({ "value": "done", "retries": retries });
        assert_eq!(lane.value("tasks.retry", json!([2, AFTER]), json!({})).await, done(2));
        assert_eq!(lane.value("tasks.retry", json!([1, 0.3]), json!({})).await, done(1));
        let id = lane.send("tasks.retry", json!([9, AFTER])).await;
        assert_eq!(lane.get(&id).await.failure(), &Raised::new("builtins.ValueError", json!(["not yet"])));
    }

    async fn automatic_retries_are_counted_like_others(lane: &Lane) {
        assert_eq!(lane.value("tasks.auto_retry", json!([2]), json!({})).await, json!(2));
        let id = lane.send("tasks.auto_retry", json!([3])).await;
        assert_eq!(lane.get(&id).await.failure(), &Raised::new("builtins.ValueError", json!(["not yet"])));
    }

    async fn a_task_that_waits_for_its_retry_says_why(lane: &Lane) {
        let id = lane.send("tasks.retry", json!([1, 600])).await;
        let looks = tokio::time::timeout(crate::rust::PATIENCE, async {
            let mut looks = tokio::time::interval(std::time::Duration::from_millis(20));
            while crate::rust::state(&lane.rust, &id).await.0 != "RETRY" {
                looks.tick().await;
            }
        });
        looks.await.expect("the state RETRY");
        let why = Raised::new("builtins.ValueError", json!(["not yet"])).as_json();
        assert_eq!(lane.state(&id).await, ("RETRY".to_owned(), why));
    }

    async fn an_expired_task_is_revoked_and_never_runs(lane: &Lane) {
        for options in [
            json!({ "expires": at(-5.0, 330) }),
            json!({ "countdown": 0.6, "expires": 0.2 }),
            json!({ "eta": at(0.7, -570), "expires": at(0.1, 60) }),
        ] {
            let id = lane.call("tasks.add", json!([1, 1]), json!({}), options.clone()).await;
            let seen = lane.get(&id).await;
            assert_eq!(seen.state, "REVOKED", "{options}");
            let expired = Raised::new("celery.exceptions.TaskRevokedError", json!(["expired"]));
            assert_eq!(seen.raised, Some(expired), "{options}");
        }
    }

    async fn a_time_limit_ends_a_task(lane: &Lane) {
        let soft = lane.call("tasks.sleep", json!([60]), json!({}), json!({ "soft_time_limit": 1 })).await;
        let hard = lane.call("tasks.sleep", json!([60]), json!({}), json!({ "time_limit": 1 })).await;
        let own = lane.send("tasks.soft", json!([60])).await;
        for (id, name) in [(soft, "SoftTimeLimitExceeded"), (hard, "TimeLimitExceeded"), (own, "SoftTimeLimitExceeded")] {
            let seen = lane.get(&id).await;
            assert_eq!(seen.failure().class, format!("billiard.exceptions.{name}"));
            assert!(lane.caught(&id, &format!("celery.exceptions.{name}")).await.is_some());
        }
    }

    async fn states_of_ones_own_are_told_to_whoever_waits(lane: &Lane) {
        let id = lane.send("tasks.progress", json!([4, 0.25])).await;
        let (rust, python) = tokio::join!(lane.read(Side::Rust, &id), lane.read(Side::Python, &id));
        for seen in [&rust, &python] {
            assert_eq!(seen.success(), &json!(4));
            let steps: Vec<&Value> = seen.messages.iter().filter(|told| told.0 == "PROGRESS").map(|told| &told.1).collect();
            assert!(!steps.is_empty() && steps.len() <= 4, "{:?}", seen.messages);
            assert_eq!(*steps[steps.len() - 1], json!({ "current": 4, "total": 4 }), "the last step is seen");
            assert_eq!(seen.messages.last().unwrap(), &("SUCCESS".to_owned(), json!(4)));
        }
    }

    async fn started_tells_where_it_runs(lane: &Lane) {
        let id = lane.send("tasks.sleep", json!([0.5])).await;
        let seen = lane.read(Side::Rust, &id).await;
        let started = seen.messages.iter().find(|told| told.0 == "STARTED").expect("it is told");
        assert!(started.1["pid"].as_u64().is_some(), "{started:?}");
        assert_eq!(started.1["hostname"], "one@peer");
    }

    async fn what_a_task_sends_are_its_children(lane: &Lane) {
        let id = lane.send("tasks.spawn", json!([3])).await;
        let seen = lane.get(&id).await;
        assert_eq!((seen.success(), seen.children.len()), (&json!(3), 3));
        for (number, child) in seen.children.iter().enumerate() {
            assert_eq!(lane.get(child).await.success(), &json!(2 * number));
        }
    }

    async fn a_rejected_task_has_failed(lane: &Lane) {
        let id = lane.send("tasks.reject", json!([])).await;
        let rejected = Raised::new("celery.exceptions.Reject", json!(["rejected by task", false]));
        assert_eq!(lane.get(&id).await.failure(), &rejected);
    }

    async fn what_is_ignored_leaves_no_result(lane: &Lane) {
        let ignored = lane.call("tasks.add", json!([1, 1]), json!({}), json!({ "ignore_result": true })).await;
        let ignores = lane.send("tasks.ignore", json!([])).await;
        // They were taken before this one, in order, and a worker has four slots: so once a few more are done, so are they.
        for _ in 0..4 {
            lane.value("tasks.sleep", json!([0.05]), json!({})).await;
        }
        assert_eq!(lane.state(&ignored).await, ("PENDING".to_owned(), json!(null)));
        let state = lane.state(&ignores).await.0;
        assert!(["PENDING", "STARTED"].contains(&&*state), "{state}");
    }
}
