//! Building an app: wrong settings, options and addresses are errors that name the mistake.

use std::time::Duration;

use apium_app::builder::AppBuilder;
use apium_app::config::settings::Settings;
use apium_app::config::value::Value;
use apium_app::error::ErrorKind;
use apium_transport::broker::topology::Queue;

use crate::kit::{self, Add};

async fn error(builder: AppBuilder) -> String {
    let error = builder.register::<Add>().build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error:#}");
    format!("{error:#}")
}

fn annotation(name: &str, value: impl Into<Value>) -> Value {
    Value::Table(vec![("tasks.add".into(), Value::Table(vec![(name.into(), value.into())]))])
}

#[tokio::test]
async fn the_error_for_an_unknown_setting_names_the_nearest() {
    let text = error(kit::builder().setting("task_default_que", "x")).await;
    assert!(text.contains("did you mean task_default_queue?") && text.contains("the app's builder"), "{text}");
}

#[tokio::test]
async fn the_error_for_a_bad_rate_limit_names_the_task_and_the_allowed_forms() {
    let text = error(kit::builder().setting("task_annotations", annotation("rate_limit", "10/x"))).await;
    assert!(text.contains("tasks.add") && text.contains("10/x") && text.contains("\"100/m\""), "{text}");
}

#[tokio::test]
async fn the_error_for_a_soft_limit_above_the_hard_one_names_the_task() {
    let annotations = annotation("soft_time_limit", 20);
    let text = error(kit::builder().setting("task_annotations", annotations).setting("task_time_limit", 10)).await;
    assert!(text.contains("tasks.add") && text.contains("20 s") && text.contains("10 s"), "{text}");
}

#[tokio::test]
async fn the_error_for_an_unknown_codec_names_the_setting_or_the_task() {
    let text = error(kit::builder().setting("task_serializer", "jason")).await;
    assert!(text.contains("task_serializer") && text.contains("jason"), "{text}");
    let text = error(kit::builder().setting("event_serializer", "jason")).await;
    assert!(text.contains("event_serializer") && text.contains("jason"), "{text}");
    let text = error(kit::builder().setting("task_compression", "rar")).await;
    assert!(text.contains("task_compression"), "{text}");
    let text = error(kit::builder().setting("accept_content", ["json", "jason"])).await;
    assert!(text.contains("accept_content"), "{text}");
    let text = error(kit::builder().setting("task_annotations", annotation("serializer", "jason"))).await;
    assert!(text.contains("tasks.add") && text.contains("jason"), "{text}");
}

#[tokio::test]
async fn the_error_for_an_address_without_a_driver_lists_the_schemes_and_hides_secrets() {
    let text = error(kit::builder().broker("redis://user:hunter2@localhost/0")).await;
    assert!(text.contains("memory") && text.contains("redis://") && !text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn settings_of_files_and_variables_win_over_the_builders() {
    let mut settings = Settings::new();
    settings.add_toml("task_default_queue = 'file'", "apium.toml").unwrap();
    let (app, _) = kit::app_of(kit::builder().config(settings).setting("task_default_queue", "builder")).await;
    assert_eq!(app.config().task_default_queue, "file");
    assert_eq!(app.config().queue_names(), ["file"]);
}

#[tokio::test]
async fn the_error_of_an_app_without_a_broker_says_how_to_name_one() {
    let app = AppBuilder::new("proj", Vec::new()).autodiscover(false).register::<Add>().build().await.unwrap();
    let error = Add::s(1, 2).send(&app).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Publish);
    assert!(format!("{error:#}").contains("APIUM_BROKER_URL"), "{error:#}");
    let error = app.result::<i64>("x").state().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoBackend);
}

#[tokio::test]
async fn routes_of_the_builder_declare_their_queues() {
    let (app, sent) = kit::app_of(kit::builder().route("tasks.*", Queue::new("mail").max_priority(10))).await;
    Add::s(1, 2).send(&app).await.unwrap();
    assert_eq!(&*sent.one().routing_key, "mail");
    assert_eq!(app.publisher().router().queue_to_consume("mail").unwrap().max_priority, Some(10));
}

#[test]
fn code_without_a_runtime_builds_an_app_and_calls_tasks() {
    let app = kit::builder().register::<Add>().build_blocking().unwrap();
    let result = Add::s(1, 2).send_blocking(&app).unwrap();
    let timeout = result.get().timeout(Duration::from_millis(1)).wait().unwrap_err();
    assert_eq!(timeout.kind(), ErrorKind::Timeout);
    app.blocking()
        .run({
            let (app, id) = (app.clone(), result.id().clone());
            async move { kit::store(&app, &id, "SUCCESS", "3").await }
        })
        .unwrap();
    assert_eq!(result.get_blocking().unwrap(), 3);
}
