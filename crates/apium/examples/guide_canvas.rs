//! The canvas: tasks that are joined into workflows. `docs/CANVAS.md` explains it with the same code.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use std::pin::pin;

use apium::prelude::*;
use apium::testing::TestApp;
use futures_util::TryStreamExt as _;

// guide: tasks
#[task(name = "guide.add")]
async fn add(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x + y)
}

#[task(name = "guide.total")]
async fn total(numbers: Vec<i64>) -> TaskResult<i64> {
    Ok(numbers.iter().sum())
}
// guide end

#[task(name = "guide.half")]
async fn half(x: i64) -> TaskResult<i64> {
    if x % 2 == 0 { Ok(x / 2) } else { Err(TaskError::failure(format!("{x} is odd"))) }
}

#[task(name = "guide.read")]
async fn read(title: String) -> TaskResult<String> {
    Ok(format!("{title}: to be or not to be"))
}

#[task(name = "guide.title")]
async fn title(text: String) -> TaskResult<String> {
    Ok(text.split(':').next().unwrap_or_default().to_owned())
}

#[task(name = "guide.words")]
async fn words(text: String) -> TaskResult<usize> {
    Ok(text.split_whitespace().count())
}

#[task(name = "guide.card")]
async fn card(parts: (String, usize)) -> TaskResult<String> {
    let (title, words) = parts;
    Ok(format!("{title} has {words} words"))
}

// guide: errback
/// An errback of Celery's old style: it gets the id of the failed task.
#[task(name = "guide.tell")]
async fn tell(failed: String) {
    println!("errback: task {failed} has failed");
}
// guide end

// guide: replace
/// Is replaced by a chord, which gets its id.
#[task(name = "guide.sum_up_to")]
async fn sum_up_to(ctx: &Ctx, n: i64) -> TaskResult<i64> {
    Err(ctx.replace(group((0..n).map(|i| add::s(i, 1))) | total::p()))
}
// guide end

/// Marks what replaces a task.
async fn marked(ctx: &Ctx, with: Signature<Anything, String>) -> Signature<Anything, String> {
    with.stamp("tenant", ctx.task_name())
}

/// Is replaced by another task, which its hook stamps.
#[task(name = "guide.delegated", on_replace = marked)]
async fn delegated(ctx: &Ctx) -> TaskResult<String> {
    Err(ctx.replace(tenant::s()))
}

/// Returns its stamp `tenant`.
#[task(name = "guide.tenant")]
async fn tenant(ctx: &Ctx) -> TaskResult<String> {
    let stamp = ctx.request().headers.stamps.get("tenant").ok_or_else(|| TaskError::failure("no stamp"))?;
    Ok(stamp.decode()?)
}

// guide: python
extern_task! {
    /// A task of a Python worker.
    #[task(name = "ml.tasks.embed", queue = "gpu")]
    fn embed(text: String, *, model: String = "small") -> Vec<f32>;

    /// Another one.
    #[task(name = "ml.tasks.store")]
    fn store(vector: Vec<f32>) -> u64;
}
// guide end

async fn chains(app: &TestApp) -> Result<(), BoxError> {
    // guide: chain
    // What a step returns is the first argument of the next, which `p` leaves out.
    let sum = (add::s(2, 2) | add::p(4) | add::p(8)).send(app).await?;
    app.drain().await;
    assert_eq!(sum.get().await?, 16);
    // guide end
    println!("chain: {}", sum.get().await?);

    // The steps before are the result's parents.
    let before: AsyncResult<i64> = sum.parent().ok_or("the step before")?.clone().cast();
    assert_eq!(before.get().await?, 8);

    // `si` has all its arguments and ignores the step before.
    let alone = (add::s(2, 2) | add::si(1, 1)).send(app).await?;
    app.drain().await;
    assert_eq!(alone.get().await?, 2);

    // A chain whose length is known only when the program runs.
    let mut steps = add::s(0, 0);
    for n in 1..=4 {
        steps |= add::p(n);
    }
    let steps = steps.send(app).await?;
    app.drain().await;
    assert_eq!(steps.get().await?, 10);
    Ok(())
}

async fn groups_and_chords(app: &TestApp) -> Result<(), BoxError> {
    // The members run in parallel. Their results come in the order of the members.
    let squares = group((0..4).map(|i| add::s(i, i))).send(app).await?;
    app.drain().await;
    assert_eq!(squares.get().await?, [0, 2, 4, 6]);

    // guide: chord
    // A task joined to a group makes a chord: it runs when all members are ready, with the list of their values.
    let all = (group((0..4).map(|i| add::s(i, i))) | total::p()).send(app).await?;
    app.drain().await;
    assert_eq!(all.get().await?, 12);
    // guide end
    println!("chord: {}", all.get().await?);

    // The same with `chord`, as in Celery.
    let all = chord((0..4).map(|i| add::s(i, i)), total::p()).send(app).await?;
    app.drain().await;
    assert_eq!(all.get().await?, 12);

    // guide: nested
    // A workflow can be used wherever a task can: here each member is a chain, and a task comes before the group.
    let members = [add::p(1) | add::p(10), add::p(2) | add::p(20)];
    let nested = (add::s(1, 1) | group(members) | total::p()).send(app).await?;
    app.drain().await;
    assert_eq!(nested.get().await?, 13 + 24);
    // guide end
    Ok(())
}

async fn joins(app: &TestApp) -> Result<(), BoxError> {
    // guide: join
    // A group of tasks of different types: what follows takes a tuple.
    let sent = (read::s("Hamlet".into()) | join((title::p(), words::p())) | card::p()).send(app).await?;
    app.drain().await;
    assert_eq!(sent.get().await?, "Hamlet has 7 words");
    // guide end
    println!("join: {}", sent.get().await?);

    // Without a task after it, its value is the tuple.
    let pair = join((title::s("Hamlet: …".into()), add::s(2, 2))).send(app).await?;
    app.drain().await;
    assert_eq!(pair.get().await?, ("Hamlet".to_owned(), 4));
    Ok(())
}

async fn maps(app: &TestApp) -> Result<(), BoxError> {
    // guide: many
    // One message, one slot of one worker, one item after the other.
    let halves = half::map([2, 4, 6]).send(app).await?;
    let sums = add::starmap([(1, 1), (2, 2)]).send(app).await?;
    // Many items in few messages: a group of starmaps.
    let chunks = add::chunks((0..10).map(|i| (i, i)), 4).send(app).await?;
    // guide end
    app.drain().await;
    assert_eq!(halves.get().await?, [1, 2, 3]);
    assert_eq!(sums.get().await?, [2, 4]);
    assert_eq!(chunks.get().await?, [vec![0, 2, 4, 6], vec![8, 10, 12, 14], vec![16, 18]]);
    println!("chunks: {:?}", chunks.get().await?);
    Ok(())
}

async fn errors(app: &TestApp) -> Result<(), BoxError> {
    // A step fails: the later steps do not run, and `get` returns the failure.
    let chain = (half::s(3) | add::p(1)).send(app).await?;
    app.drain().await;
    let failure = chain.get().await.err().ok_or("a step failed")?;
    println!("chain: {failure}");

    // A member fails: the others run, the body fails with a ChordError, and `get` returns the member's failure.
    let chord = (group([half::s(2), half::s(3)]) | total::p()).send(app).await?;
    app.drain().await;
    let failure = chord.get().await.err().ok_or("a member failed")?;
    println!("chord: {failure}; stored: {}", chord.info().await?);

    // A chord inside a chord fails: the outer one fails too.
    let inner = group([half::s(2), half::s(3)]) | total::p();
    let outer = (group([inner, half::s(4)]) | total::p()).send(app).await?;
    app.drain().await;
    assert_eq!(outer.state().await?, TaskState::Failure);

    // guide: links
    // Callbacks for success, errbacks for failure: tasks like others, beside what follows.
    half::s(4).on_success(add::p(1)).on_error(tell::p()).send(app).await?;
    // guide end
    half::s(5).on_success(add::p(1)).on_error(tell::p()).send(app).await?;
    app.drain().await;
    Ok(())
}

async fn replacing(app: &TestApp) -> Result<(), BoxError> {
    let sum = (sum_up_to::s(4) | add::p(100)).send(app).await?;
    app.drain().await;
    assert_eq!(sum.get().await?, 110);
    println!("replaced: {}", sum.get().await?);
    let delegated = delegated::s().send(app).await?;
    app.drain().await;
    assert_eq!(delegated.get().await?, "guide.delegated");
    Ok(())
}

async fn options(app: &TestApp) -> Result<(), BoxError> {
    // guide: options
    // Options of the workflow go to its first tasks. Those for every task are set by `each`.
    let album = add::s(1, 1) | group([add::p(2), add::p(3)]) | total::p();
    let album = album.each(|task| task.queue("celery").priority(5));
    // The function may choose: `task.task()` is the name.
    let album = album.each(|task| if task.task() == "guide.total" { task.urgent() } else { task });
    // guide end
    let sum = album.send(app).await?;
    app.drain().await;
    let of = |task: &str| app.sent_by_name(task).last().and_then(|sent| sent.message.properties.priority);
    assert_eq!((of("guide.add"), of("guide.total"), sum.get().await?), (Some(5), Some(255), 9));
    println!("options: {}", sum.get().await?);
    Ok(())
}

async fn progress(app: &TestApp) -> Result<(), BoxError> {
    let all = (group((0..100).map(|i| add::s(i, i))) | total::p()).send(app).await?;
    assert_eq!(all.progress().await?.done, 0);

    let watch = async {
        let mut progress = pin!(all.progress_stream());
        let mut last = 0.0;
        while let Some(now) = progress.try_next().await? {
            last = now.fraction();
        }
        Ok::<f64, BoxError>(last)
    };
    let (last, _) = tokio::join!(watch, app.drain());
    println!("progress: {:.0} %", 100.0 * last?);
    Ok(())
}

async fn saved(app: &TestApp) -> Result<(), BoxError> {
    let all = (group((0..4).map(|i| add::s(i, i))) | total::p() | half::p()).send(app).await?;
    all.save().await?;
    let id = all.id().to_string();

    // Later, in another process: the whole workflow by that one id.
    let found = app.restore::<i64>(&id).await?.ok_or("nothing is saved under this id")?;
    let progress = found.progress().await?;
    for (task, state) in found.workflow().iter().zip(found.workflow().states().await?) {
        println!("{task} {state}");
    }

    assert_eq!((progress.done, progress.total), (0, 4));
    app.drain().await;
    assert_eq!((found.progress().await?.done, found.get().await?), (4, 6));
    Ok(())
}

async fn trees(app: &TestApp) -> Result<(), BoxError> {
    let sum = (add::s(2, 2) | add::p(4)).send(app).await?;
    app.drain().await;
    let first = sum.parent().ok_or("the step before")?;
    // All results below a task, level by level, each with its value; and the same as a graph for Graphviz.
    let results = first.collect().await?;
    assert_eq!(results.len(), 2);
    assert!(first.graph(false).await?.to_dot().starts_with("digraph"));
    Ok(())
}

async fn stamps(app: &TestApp) -> Result<(), BoxError> {
    // A stamp goes to every task of the workflow; stamp last.
    let stamped = group([tenant::s(), tenant::s()]).stamp("tenant", "acme").send(app).await?;
    app.drain().await;
    assert_eq!(stamped.get().await?, ["acme", "acme"]);
    println!("stamps: {:?}", stamped.get().await?);
    Ok(())
}

fn with_python(app: &App) {
    // Described by `extern_task!`, tasks of other programs have types.
    let call = read::s("Hamlet".into()) | embed::p("large".to_owned().into()) | store::p();
    println!("python: {call}");
    // By name they take and return any JSON; `cast` says what it is.
    let embed = app.sig("ml.tasks.embed").kwarg("model", "large").signature().cast::<String, Vec<f32>>();
    let call: Signature<(), u64> = read::s("Hamlet".into()) | embed | store::p();
    println!("by name: {call}");
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = App::test().build().await?;
    chains(&app).await?;
    groups_and_chords(&app).await?;
    joins(&app).await?;
    maps(&app).await?;
    errors(&app).await?;
    replacing(&app).await?;
    options(&app).await?;
    progress(&app).await?;
    saved(&app).await?;
    trees(&app).await?;
    stamps(&app).await?;
    with_python(&app);
    Ok(())
}
