//! Urgent and background calls: before and after all others, on brokers that count in different directions.

use apium::driver::PriorityOrder;
use apium::prelude::*;
use apium::testing::TestApp;

use crate::fixture::{Records, records};

/// Records a word.
#[task(name = "priorities.said")]
async fn said(State(records): State<Records>, word: String) -> TaskResult<String> {
    records.add(&*word);
    Ok(word)
}

/// The same, after all others.
#[task(name = "priorities.behind", priority = "background")]
async fn behind(State(records): State<Records>, word: String) -> TaskResult<()> {
    records.add(word);
    Ok(())
}

/// The same, before all others.
#[task(name = "priorities.before", priority = "urgent")]
async fn before(State(records): State<Records>, word: String) -> TaskResult<()> {
    records.add(word);
    Ok(())
}

/// A task that another one replaces.
#[task(name = "priorities.replaced")]
async fn replaced(ctx: &Ctx, word: String) -> TaskResult<String> {
    Err(ctx.replace(said::s(word).urgent()))
}

/// A callback and an errback, and what follows a header.
#[task(name = "priorities.last")]
async fn last(State(records): State<Records>, _given: Json) -> TaskResult<()> {
    records.add("last");
    Ok(())
}

#[task(name = "priorities.fails")]
async fn fails() -> TaskResult<()> {
    Err("it fails".into())
}

/// The numbers of the broker for urgent and for background.
fn numbers(app: &TestApp) -> (Option<u8>, Option<u8>) {
    match app.broker().capabilities().priority_order {
        PriorityOrder::LargerFirst => (Some(255), Some(0)),
        PriorityOrder::SmallerFirst => (Some(0), Some(9)),
    }
}

/// The priorities of all messages of a task, as they were sent. No message has a word in it.
fn sent(app: &TestApp, task: &str) -> Vec<Option<u8>> {
    let all = app.sent_by_name(task);
    for out in &all {
        let body = String::from_utf8_lossy(&out.message.body);
        assert!(!body.contains("\"priority\": \""), "{body}");
    }
    all.iter().map(|out| out.message.properties.priority).collect()
}

on_every_driver! {
    async fn urgent_calls_run_before_others_and_background_calls_after_them(fixture: &Fixture) {
        let app = fixture.app(&[("task_default_priority", "5")]).await;
        let say = |word: &str| said::delay(word.to_owned());
        say("background").background().send(&app).await.unwrap();
        behind::delay("background too".to_owned()).send(&app).await.unwrap();
        say("normal").send(&app).await.unwrap();
        say("urgent").urgent().send(&app).await.unwrap();
        say("normal too").send(&app).await.unwrap();
        before::delay("urgent too".to_owned()).send(&app).await.unwrap();
        say("background at last").priority(3).background().send(&app).await.unwrap();
        app.drain().await;
        let wanted = ["urgent", "urgent too", "normal", "normal too", "background", "background too", "background at last"];
        assert_eq!(records(&app), wanted);
    }

    /// It is between the two where the broker can tell. On Redis it has Celery's 0, as the urgent ones.
    async fn a_call_without_a_priority_is_between_the_two_or_has_celerys_0(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let say = |word: &str| said::delay(word.to_owned());
        say("background").background().send(&app).await.unwrap();
        say("none").send(&app).await.unwrap();
        say("urgent").urgent().send(&app).await.unwrap();
        app.drain().await;
        let wanted = match app.broker().capabilities().priority_order {
            PriorityOrder::LargerFirst => ["urgent", "none", "background"],
            PriorityOrder::SmallerFirst => ["none", "urgent", "background"],
        };
        assert_eq!(records(&app), wanted);
        let none = sent(&app, "priorities.said")[1];
        assert_eq!(none, fixture.is_redis().then_some(0), "as in Celery's messages on Redis");
    }

    async fn settings_and_the_call_give_words_or_numbers_and_the_call_wins(fixture: &Fixture) {
        let mut settings = Settings::new();
        let toml = "task_default_priority = \"background\"\n[task_routes]\n\"routed.*\" = { priority = \"urgent\" }\n\
                    [task_annotations.\"priorities.behind\"]\npriority = 4\n";
        settings.add_toml(toml, "apium.toml").unwrap();
        let app = fixture.builder().with(|app| app.config(settings)).build().await.unwrap();
        let (urgent, background) = numbers(&app);
        app.sig("routed.a").send().await.unwrap();
        app.sig("routed.a").call().priority(2).send(&app).await.unwrap();
        assert_eq!(sent(&app, "routed.a"), [urgent, Some(2)]);
        app.sig("other").send().await.unwrap();
        assert_eq!(sent(&app, "other"), [background]);
        behind::delay(String::new()).send(&app).await.unwrap();
        assert_eq!(sent(&app, "priorities.behind"), [Some(4)], "the annotation replaces the attribute");
        before::delay(String::new()).background().send(&app).await.unwrap();
        assert_eq!(sent(&app, "priorities.before"), [background]);
    }

    async fn the_later_tasks_of_a_workflow_have_the_number_of_the_broker(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        let (urgent, background) = numbers(&app);
        let say = |word: &str| said::s(word.to_owned());
        let header = group([say("a").urgent().into_immutable(), say("b").background().into_immutable()]);
        let errback = last::si(Json::NULL).background();
        let linked = say("c").link(last::p().urgent()).link_error(errback);
        let workflow = say("first") | header | last::p().background().cast::<Vec<String>, ()>();
        workflow.send(&app).await.unwrap();
        linked.send(&app).await.unwrap();
        let failing = fails::s().link_error(last::si(Json::NULL).background());
        (say("second") | failing.into_immutable()).send(&app).await.unwrap();
        app.drain().await;
        let mut all = sent(&app, "priorities.said");
        all.sort_unstable();
        let none = fixture.is_redis().then_some(0);
        let mut wanted = [urgent, background, none, none, none];
        wanted.sort_unstable();
        assert_eq!(all, wanted);
        let mut lasts = sent(&app, "priorities.last");
        lasts.sort_unstable();
        let mut wanted = [background, background, urgent];
        wanted.sort_unstable();
        assert_eq!(lasts, wanted, "the body, the errback and the callback");
        assert_eq!(records(&app).iter().filter(|word| *word == "last").count(), 3);
    }

    async fn what_replaces_a_task_has_the_number_of_the_broker(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        (replaced::s("first".to_owned()) | last::p().background().cast::<String, ()>()).send(&app).await.unwrap();
        app.drain().await;
        let (urgent, background) = numbers(&app);
        assert_eq!(sent(&app, "priorities.said"), [urgent]);
        assert_eq!(sent(&app, "priorities.last"), [background]);
        assert_eq!(records(&app), ["first", "last"]);
    }
}
