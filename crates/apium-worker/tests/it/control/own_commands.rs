//! Commands of one's own.

use apium_app::app::app::App;
use apium_worker::builder::AppWorker as _;
use apium_worker::control::call::{AppControlCommands as _, ControlCall, own_control_commands};
use apium_worker::testing::builder::AppTest as _;
use serde_json::json as j;

use crate::control::caller::call;

#[tokio::test]
async fn commands_of_an_app_and_of_a_worker_are_called_and_listed() {
    let double = async |call: ControlCall| match call.argument::<i64>("n") {
        Ok(Some(n)) => Ok(n * 2),
        Ok(None) => Err("`n` is missing".to_owned()),
        Err(error) => Err(format!("could not {error:#}")),
    };
    let builder = App::test().with(move |app| {
        let app = app.autodiscover(false);
        let app = app.control_command("double", "twice a number", move |call| Box::pin(double(call)));
        app.inspect_command("half", "a half", async |_| Ok::<_, String>(0.5))
    });
    let app = builder.build().await.unwrap();
    let worker = app.worker().hostname("w1@h");
    let worker =
        worker.inspect_command("node", "its name", async |call: ControlCall| Ok::<_, String>(call.node.to_string()));
    let worker = worker.control_command("boom", "panics", async |_| -> Result<(), String> { panic!("at once") });
    let worker = worker.start().await.unwrap();
    assert_eq!(call(&app, "double", j!({"n": 21})).await, 42);
    assert_eq!(call(&app, "double", j!({})).await, j!({"error": "`n` is missing"}));
    let wrong = call(&app, "double", j!({"n": "x"})).await;
    assert!(wrong["error"].as_str().unwrap().starts_with("could not read the argument `n`"), "{wrong}");
    assert_eq!(call(&app, "node", j!({})).await, "w1@h");
    let boom = call(&app, "boom", j!({})).await;
    assert_eq!(boom, j!({"error": "RuntimeError('the command panicked: at once')"}));
    let listed = call(&app, "control_commands", j!({})).await;
    let of = |name: &str| listed.as_array().unwrap().iter().find(|command| command["name"] == name).cloned().unwrap();
    assert_eq!((&of("double")["help"], &of("double")["own"]), (&j!("twice a number"), &j!(true)));
    assert_eq!([of("double"), of("half"), of("node")].map(|of| of["kind"].clone()), ["control", "inspect", "inspect"]);
    assert_eq!(of("revoke")["arguments"], j!(["task_id", "[terminate]", "[signal]"]));
    assert_eq!((&of("ping")["kind"], &of("shutdown")["kind"]), (&j!("inspect"), &j!("control")));
    worker.stop().await;
    let of_app = own_control_commands(&app).into_iter().map(|command| (command.name, command.inspects));
    assert_eq!(of_app.collect::<Vec<_>>(), [("double".to_owned(), false), ("half".to_owned(), true)]);
}

#[tokio::test]
async fn a_command_needs_a_name_to_itself() {
    let app = App::test().with(|app| app.autodiscover(false)).build().await.unwrap();
    for (names, wanted) in [
        (&["ping"][..], "every worker has a command of this name"),
        (&["dump_tasks"], "every worker has a command of this name"),
        (&["a", "a"], "there are two of this name"),
        (&[" "], "its name is empty"),
    ] {
        let add = |worker: apium_worker::builder::WorkerBuilder, name: &&str| {
            worker.control_command(*name, "", async |_| Ok::<_, String>(()))
        };
        let error = names.iter().fold(app.worker(), add).start().await.unwrap_err().to_string();
        assert!(error.contains(wanted) && error.contains(names[0]), "{error}");
    }
}
