//! The test kit: what was sent to a task, as a test looks at it.

use std::time::Duration;

use apium::prelude::*;
use apium::task::Parameter;
use apium::testing::TestApp;

#[task(name = "testing.fetch", aliases = ["testing.fetch_v1"], max_retries = 1)]
async fn fetch(ctx: &Ctx, url: String, #[default] depth: Option<u32>, rest: Args, named: Kwargs) -> TaskResult<()> {
    let _ = (url, depth, rest, named);
    match ctx.retries() {
        0 => Err(ctx.retry().countdown(Duration::from_secs(30)).into()),
        _ => Ok(()),
    }
}

#[task(name = "testing.first")]
async fn first(url: String) -> TaskResult<String> {
    fetch::delay(url.clone(), Some(2), Args::default(), Kwargs::default()).await?;
    Ok(format!("{url}/index"))
}

extern_task! {
    #[task(name = "testing.embed", queue = "gpu")]
    fn embed(text: String, size: u32 = 8, *, model: String = "small", deep: bool) -> Vec<f32>;
}

struct Add;

impl Task for Add {
    const NAME: &'static str = "testing.Add";
    const PARAMETERS: &'static [Parameter] = &[Parameter::required("x"), Parameter::optional("y")];
    type Args = (i64, Option<i64>);
    type Output = i64;

    async fn run(&self, _ctx: &Ctx, (x, y): Self::Args) -> TaskResult<i64> {
        Ok(x + y.unwrap_or_default())
    }
}

/// The first two arguments of what was sent to `fetch`.
fn fetched(app: &TestApp) -> Vec<(String, Option<u32>)> {
    app.sent::<fetch>().iter().map(|sent| sent.args()).map(|(url, depth, ..)| (url, depth)).collect()
}

on_every_driver! {
    async fn what_was_sent_to_a_task_is_there_with_its_types_and_options(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        assert!(app.sent::<fetch>().is_empty());
        let call = fetch::delay("a".into(), None, [json!(1)].iter().map(json).collect(), [("k", json(&json!(2)))].into_iter().collect());
        let result = call
            .queue("slow")
            .priority(3)
            .countdown(Duration::from_secs(10))
            .expires_in(Duration::from_secs(60))
            .header("tenant", 7)
            .stamp("day", "monday")
            .send(&app)
            .await
            .unwrap();
        let sent = app.sent::<fetch>();
        assert_eq!(sent.len(), 1);
        let sent = &sent[0];
        let (url, depth, rest, named) = sent.args();
        assert_eq!((url.as_str(), depth, rest.len(), named.get("k").unwrap().as_str()), ("a", None, 1, "2"));
        assert_eq!((sent.id(), sent.queue(), sent.priority(), sent.retries()), (result.id(), "slow", Some(3), 0));
        assert_eq!(sent.eta().unwrap(), app.now() + Duration::from_secs(10));
        assert_eq!(sent.expires().unwrap(), app.now() + Duration::from_secs(60));
        assert_eq!((sent.headers()["tenant"].as_str(), sent.stamps()["day"].as_str()), ("7", "\"monday\""));
        assert_eq!(sent.outgoing().message.headers.task.as_deref(), Some(fetch::NAME));
        assert_eq!(sent.request().root_id(), Some(result.id()));
    }

    async fn what_was_sent_comes_in_order_with_what_tasks_send_and_retry(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        (first::s("a".into()) | fetch::p(None, Args::default(), Kwargs::default())).send(&app).await.unwrap();
        app.sig("testing.fetch_v1").args(("b",)).kwarg("depth", 5).send().await.unwrap();
        app.drain().await;
        let all = || fetched(&app).into_iter().map(|(url, depth)| (url, depth.unwrap_or_default())).collect::<Vec<_>>();
        let mut runs = vec![("b".to_owned(), 5), ("a".to_owned(), 2), ("a/index".to_owned(), 0)];
        assert_eq!(all()[..3], runs);
        // Each of them was sent once more, to run 30 s later.
        assert_eq!(all().len(), 6);
        let retries = app.sent::<fetch>().split_off(3);
        assert!(retries.iter().all(|sent| sent.retries() == 1 && sent.eta() == Some(app.now() + Duration::from_secs(30))));
        let mut again = all().split_off(3);
        again.sort();
        runs.sort();
        assert_eq!(again, runs);
        app.advance(Duration::from_secs(30)).await;
        assert_eq!(all().len(), 6, "and no more");
        assert_eq!(app.sent::<first>()[0].args(), ("a".to_owned(),));
    }

    async fn classes_and_tasks_of_other_programs_are_read_too(fixture: &Fixture) {
        let app = fixture.builder().register_task(Add).build().await.unwrap();
        Add::delay((1, Some(2))).send(&app).await.unwrap();
        app.sig(Add::NAME).kwarg("x", 3).send().await.unwrap();
        let added: Vec<_> = app.sent::<Add>().iter().map(|sent| sent.args()).collect();
        assert_eq!(added, [(1, Some(2)), (3, None)]);

        embed::delay("text".into(), 9.into(), "large".into(), true).send(&app).await.unwrap();
        embed::delay("text".into(), Keyword::default(), Keyword::default(), false).send(&app).await.unwrap();
        let sent = app.sent::<embed>();
        assert_eq!(sent[0].args(), ("text".into(), 9.into(), "large".into(), true));
        assert_eq!(sent[1].args(), ("text".into(), Keyword(None), Keyword(None), false), "what is left out is not its default");
        assert_eq!(sent[0].queue(), "gpu");
    }

    async fn arguments_that_do_not_fit_are_named(fixture: &Fixture) {
        let app = fixture.app(&[]).await;
        app.sig(fetch::NAME).args((1,)).send().await.unwrap();
        let error = app.sent::<fetch>()[0].try_args().map(drop).unwrap_err();
        assert!(format!("{error:?}").contains("invalid type: integer `1`, expected a string"), "{error:?}");
    }
}

fn json(value: &serde_json::Value) -> Json {
    Json::from_serialize(value).unwrap()
}
