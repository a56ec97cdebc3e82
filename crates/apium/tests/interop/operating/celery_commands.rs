//! The tools of a Celery operator: `celery inspect`, `celery control` and `celery status`, asked of a Rust worker and
//! of a Python worker in the same state. Both must answer in the same shape.

use serde_json::json;

use crate::kit::deployment::Deployment;
use crate::kit::side::Side;
use crate::operating::commands::{busy, controls, inspections, operate, shape, without_ids};

/// The exit code of Celery's commands when nobody answers.
const NOBODY: i64 = 69;

on_every_broker! {
    async fn every_inspection_has_the_same_shape_from_both_workers(broker: Broker) {
        let ((rust, rust_ids), (python, python_ids)) =
            (busy(broker, Side::Rust).await, busy(broker, Side::Python).await);
        let ours = operate(&rust, &inspections(&rust_ids));
        let theirs = operate(&python, &inspections(&python_ids));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!((ours.code, theirs.code), (0, 0), "{ours:?}\n{theirs:?}");
            assert_eq!(shape(ours, &rust_ids), shape(theirs, &python_ids), "{ours:?}\n{theirs:?}");
        }
    }

    async fn every_control_command_prints_the_same_of_both_workers(broker: Broker) {
        let ((rust, rust_ids), (python, python_ids)) =
            (busy(broker, Side::Rust).await, busy(broker, Side::Python).await);
        let ours = operate(&rust, &controls(&rust_ids));
        let theirs = operate(&python, &controls(&python_ids));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let (ours_text, theirs_text) =
                (without_ids(&ours.output, &rust_ids), without_ids(&theirs.output, &python_ids));
            assert_eq!((ours.code, ours_text), (theirs.code, theirs_text), "{}", ours.words);
        }
    }

    async fn status_counts_both_workers_and_says_when_there_is_none(broker: Broker) {
        let rust = Deployment::start_on(broker, Side::Rust, |setup| setup);
        let asked = json!([["status", "-t", "5"], ["inspect", "ping", "-t", "1", "-d", "nobody@peer"]]);
        let printed = operate(&rust, &asked);
        assert!(printed[0].output.contains("1 node online."), "{printed:?}");
        assert_eq!((printed[0].code, printed[1].code), (0, NOBODY), "{printed:?}");
    }

    async fn questions_and_answers_are_in_the_serializer_of_tasks(broker: Broker) {
        // Celery reads no JSON then.
        let asked = json!([
            ["inspect", "ping", "--json", "-t", "10", "-d", "one@peer"],
            ["status", "-t", "10", "-d", "one@peer"],
        ]);
        for side in Side::BOTH {
            let deployment = Deployment::start_on(broker, side, |setup| {
                setup.set("task_serializer", json!("msgpack")).set("accept_content", json!(["msgpack"]))
            });
            let printed = operate(&deployment, &asked);
            assert_eq!((printed[0].code, printed[1].code), (0, 0), "{side:?}: {printed:?}");
            assert!(printed[0].output.contains("pong"), "{side:?}: {printed:?}");
        }
    }
}
