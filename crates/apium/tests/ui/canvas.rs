//! The canvas as a program writes it: tasks of this program and of another, joined by their types, run by a worker.

use std::time::Duration;

use apium::prelude::*;

#[task(name = "canvas.add")]
async fn add(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x + y)
}

#[task(name = "canvas.xsum")]
fn xsum(xs: Vec<i64>) -> i64 {
    xs.iter().sum()
}

#[task(name = "canvas.hello")]
fn hello(name: String) -> String {
    format!("hello {name}")
}

#[task(name = "canvas.describe")]
fn describe(pair: (i64, String)) -> String {
    format!("{} {}", pair.0, pair.1)
}

#[task(name = "canvas.notify")]
fn notify(what: String) -> String {
    what
}

#[task(name = "canvas.nothing")]
fn nothing() {}

#[task(name = "canvas.any")]
fn any(args: Args, kwargs: Kwargs) -> usize {
    args.len() * 10 + kwargs.len()
}

#[task(name = "canvas.scaled")]
fn scaled(value: i64, #[default(2)] factor: i64) -> i64 {
    value * factor
}

extern_task! {
    /// Embeds a text.
    #[task(name = "ml.tasks.embed", queue = "gpu", priority = 3)]
    pub fn embed(text: String, *, model: String = "small", size: u32) -> Vec<f32>;

    #[task(name = "ml.tasks.store")]
    fn store(vector: Vec<f32>) -> ();

    #[task(namespace = "ml")]
    fn tune(args: Args, r#type: Option<String> = None, rest: Kwargs) -> TaskResult<bool>;

    #[task(name = "ml.warm")]
    fn warm(rate: f64 = 0.5, seconds: u32 = 3);
}

async fn app() -> apium::testing::TestApp {
    let builder = App::test().with(|app| app.autodiscover(false));
    let builder = builder.register::<add>().register::<xsum>().register::<hello>().register::<describe>();
    builder.register::<notify>().register::<nothing>().register::<any>().register::<scaled>().build().await.unwrap()
}

fn shown(signature: &impl std::fmt::Display) -> String {
    signature.to_string()
}

#[test]
fn p_leaves_the_first_argument_and_si_takes_none() {
    let chain: Signature<(), i64> = add::s(2, 2) | add::p(4) | add::p(8);
    assert_eq!(shown(&chain), "canvas.add(2, 2) | add(4) | add(8)");
    let chord: Signature<(), i64> = group((0..10).map(|i| add::s(i, i))) | xsum::p();
    assert!(shown(&chord).starts_with("%canvas.xsum([add(0, 0), add(1, 1), "));
    let pair: Join<(), (i64, String)> = join((add::s(1, 1), hello::s("x".into())));
    let text: Signature<(), String> = pair | describe::p();
    assert_eq!(shown(&text), "%canvas.describe([add(1, 1), hello('x')])");
    let notified: Signature<(), String> = add::s(1, 1) | notify::si("done".into());
    assert_eq!(shown(&notified), "canvas.add(1, 1) | notify('done')");
    let anything: Signature<(), usize> = add::s(1, 1) | any::p(Args::default(), Kwargs::default());
    assert_eq!(shown(&anything), "canvas.add(1, 1) | any()");
    let scaled: Signature<(), i64> = add::s(1, 1) | scaled::p(3);
    assert_eq!(shown(&scaled), "canvas.add(1, 1) | scaled(3)");
    assert_eq!(shown(&scaled::map([1, 2])), "[canvas.scaled(x) for x in [1, 2]]");
    assert_eq!(shown(&add::starmap([(1, 2), (3, 4)])), "[canvas.add(*x) for x in [[1, 2], [3, 4]]]");
    assert_eq!(any::starmap([(Args::from_iter([Json::NULL]),)]).kwargs()[1].1.as_str(), "[[null]]");
    let chunks: Group<Anything, Vec<i64>> = add::chunks((0..5).map(|i| (i, i)), 2);
    assert_eq!(chunks.len(), 3);
    assert_eq!(group![add::s(1, 1), add::s(2, 2)].len(), 2);
    assert_eq!(shown(&chain![add::s(1, 1), add::p(2)]), "canvas.add(1, 1) | add(2)");
    let named = apium::canvas::chord(vec![add::s(1, 1)], xsum::p());
    assert_eq!(shown(&named), "%canvas.xsum([add(1, 1)])");
}

#[test]
fn an_extern_task_sends_keywords_behind_the_star_and_leaves_out_what_is_not_given() {
    assert_eq!(embed::NAME, "ml.tasks.embed");
    assert_eq!(shown(&embed::s("a".into(), "large".into(), 9)), "ml.tasks.embed('a', model='large', size=9)");
    assert_eq!(shown(&embed::s("a".into(), Keyword::default(), 9)), "ml.tasks.embed('a', size=9)");
    let mixed: Signature<(), ()> = hello::s("x".into()) | embed::p("large".into(), 9) | store::p();
    assert_eq!(shown(&mixed), "canvas.hello('x') | ml.tasks.embed(model='large', size=9) | ml.tasks.store()");
    assert_eq!(tune::NAME, "ml.tune");
    let kwargs = Kwargs::from_iter([("k", Json::NULL)]);
    let all = tune::s(Args::from_iter([Json::NULL]), Some("x".to_owned()).into(), kwargs);
    assert_eq!(shown(&all), "ml.tune(None, type='x', k=None)");
    assert_eq!(shown(&warm::s(Keyword::default(), 5.into())), "ml.warm(seconds=5)");
    assert_eq!(shown(&warm::p(Keyword(None)).partial(0.1)), "ml.warm(0.1)");
    assert_eq!(shown(&store::map([vec![1.5]])), "[ml.tasks.store(x) for x in [[1.5]]]");
}

#[tokio::test]
async fn an_extern_task_goes_where_its_attributes_say() {
    let app = app().await;
    embed::delay("a".into(), Keyword::default(), 1).send(&app).await.unwrap();
    embed::si("a".into(), Keyword::default(), 1).queue("cpu").send(&app).await.unwrap();
    store::map([vec![0.5]]).send(&app).await.unwrap();
    let sent = app.sent_by_name("ml.tasks.embed");
    assert_eq!(sent.iter().map(|sent| &*sent.routing_key).collect::<Vec<_>>(), ["gpu", "cpu"]);
    assert_eq!(sent[0].message.properties.priority, Some(3));
}

#[tokio::test(start_paused = true)]
async fn workflows_run_and_their_results_have_their_types() {
    let app = app().await;
    let patience = Duration::from_secs(5);
    let chain = (add::s(2, 2) | add::p(4) | add::p(8)).send(&app).await.unwrap();
    let chord = (group((0..10).map(|i| add::s(i, i))) | xsum::p()).send(&app).await.unwrap();
    let pair = join((add::s(1, 1), hello::s("x".into()))).send(&app).await.unwrap();
    let described = (join((add::s(1, 1), hello::s("x".into()))) | describe::p()).send(&app).await.unwrap();
    let fan = (add::s(1, 1) | group([add::p(1), add::p(2)])).send(&app).await.unwrap();
    let one = (add::s(1, 1) | group([add::p(1)]) | xsum::p() | add::p(1)).send(&app).await.unwrap();
    let quiet = (nothing::s() | nothing::s() | notify::si("done".into())).send(&app).await.unwrap();
    let partial = (add::p(1) | add::p(1)).partial(5).send(&app).await.unwrap();
    app.drain().await;
    assert_eq!(chain.get().timeout(patience).await.unwrap(), 16);
    assert_eq!(chord.get().timeout(patience).await.unwrap(), 90);
    assert_eq!(pair.get().timeout(patience).await.unwrap(), (2, "hello x".to_owned()));
    assert_eq!(described.get().timeout(patience).await.unwrap(), "2 hello x");
    assert_eq!(fan.get().timeout(patience).await.unwrap(), [3, 4]);
    assert_eq!(one.get().timeout(patience).await.unwrap(), 4);
    assert_eq!(quiet.get().timeout(patience).await.unwrap(), "done");
    assert_eq!(partial.get().timeout(patience).await.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn maps_run_in_one_message() {
    let app = app().await;
    let patience = Duration::from_secs(5);
    let map = scaled::map([1, 2, 3]).send(&app).await.unwrap();
    let starmap = (add::starmap([(1, 2), (3, 4)]) | xsum::p()).send(&app).await.unwrap();
    let chunks = add::chunks((0..5).map(|i| (i, i)), 2).send(&app).await.unwrap();
    app.drain().await;
    assert_eq!(map.get().timeout(patience).await.unwrap(), [2, 4, 6]);
    assert_eq!(starmap.get().timeout(patience).await.unwrap(), 10);
    assert_eq!(chunks.get().timeout(patience).await.unwrap(), [vec![0, 2], vec![4, 6], vec![8]]);
}

#[tokio::test(start_paused = true)]
async fn in_eager_mode_workflows_run_at_once() {
    let builder = App::test().with(|app| app.autodiscover(false)).setting("task_always_eager", true);
    let app = builder.register::<add>().register::<xsum>().register::<hello>().build().await.unwrap();
    let chain = (add::s(2, 2) | add::p(4)).send(&app).await.unwrap();
    assert_eq!(chain.get().await.unwrap(), 8);
    let chord = (group([add::s(1, 1), add::s(2, 2)]) | xsum::p()).send(&app).await.unwrap();
    assert_eq!(chord.get().await.unwrap(), 6);
    let fan = (add::s(1, 1) | group([add::p(1), add::p(2)])).send(&app).await.unwrap();
    assert_eq!(fan.get().await.unwrap(), [3, 4]);
    let pair = join((add::s(1, 1), hello::s("x".into()))).send(&app).await.unwrap();
    assert_eq!(pair.get().await.unwrap(), (2, "hello x".to_owned()));
    let by_hand = (add::s(2, 2) | add::p(1)).apply(&app).await.unwrap();
    assert_eq!(by_hand.get().await.unwrap(), 5);
}
