//! The quickstart: indexes real text with tasks on an embedded queue. No server, no configuration.
//!
//! ```text
//! cargo run --release --example quickstart [FOLDER]
//! ```
//!
//! A chord: one task for each file counts its words and tells its progress, and when all are over one more adds them up. Beside it
//! one task is retried after an error, one has a countdown, one expires, one fails. Queue and results lie in one SQLite file, so a
//! run that was stopped half-way, even by `kill -9`, goes on where it was when it is started again.

mod files;
mod options;
mod run;
mod screen;
mod summary;
mod tasks;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use apium::prelude::*;
use futures_util::StreamExt as _;
use options::Options;
use run::{Data, Phase, Run};
use screen::{Change, Screen, say};
use tasks::{Totals, add_up, count_words};
use tokio::sync::{mpsc, oneshot};

/// How many tasks run at a time.
const CONCURRENCY: usize = 8;
/// How soon the tasks of a killed worker are given to another.
const LEASE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            say(options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => return fail(&error, 2),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into(), 1),
    };
    match runtime.block_on(quickstart(&options)) {
        Ok(End::Finished) => ExitCode::SUCCESS,
        Ok(End::Interrupted) => ExitCode::from(130),
        Err(error) => fail(&error, 1),
    }
}

fn fail(error: &BoxError, code: u8) -> ExitCode {
    use std::io::Write;
    // Without stderr the exit code is all that is left to say.
    let _ = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::from(code)
}

/// How a start of the quickstart ended.
enum End {
    /// Every task is over.
    Finished,
    /// Ctrl-c came before.
    Interrupted,
}

async fn quickstart(options: &Options) -> Result<End, BoxError> {
    let data = Data::open(&options.data)?;
    let found = find_run(&data, &options.folder);
    let resumed = found.is_some();
    let mut run = match found {
        Some(run) => run,
        None => {
            let files = files::find(&options.folder, options.named)?;
            data.fresh_run(TaskId::random().to_string()[..8].to_owned(), &options.folder, files)?
        }
    };
    let app = app(&data.address(&run)).await?;
    let totals = if resumed { restore(&app, &run).await? } else { send(&app, &mut run, options.pace).await? };
    run.phase = Phase::Running;
    data.save(&run)?;
    announce(&run, resumed, totals.progress().await?.done);

    let end = work_and_watch(&app, &run, &totals).await?;
    match end {
        End::Finished => {
            summary::print(&app, &run, &totals).await?;
            run.phase = Phase::Finished;
            data.save(&run)?;
            say(&format!("\nThe results are kept in {}", data.address(&run)));
        }
        End::Interrupted => say("stopped half-way; start the quickstart again and it goes on where it was"),
    }
    app.close().await?;
    Ok(end)
}

/// The run to go on with, when the last one was stopped half-way.
fn find_run(data: &Data, folder: &Path) -> Option<Run> {
    let run = data.last_run()?;
    match run.phase {
        Phase::Finished => None,
        Phase::Sending => {
            say(&format!("run {} was stopped before its tasks were sent; beginning afresh", run.id));
            None
        }
        Phase::Running if run.folder != folder => {
            say(&format!("run {} over {} is dropped for another folder", run.id, run.folder.display()));
            None
        }
        Phase::Running => Some(run),
    }
}

fn announce(run: &Run, resumed: bool, counted: u64) {
    let (files, folder) = (run.files.len(), run.folder.display());
    if resumed {
        say(&format!("resuming run {}: {counted} of {files} files of {folder} are counted already", run.id));
    } else {
        say(&format!("run {}: counting the words of {files} files of {folder}", run.id));
    }
}

/// Broker and results in one file; no other program is needed.
async fn app(address: &str) -> Result<App, BoxError> {
    Ok(App::builder("quickstart").broker(address).backend(address).setting("worker_lease", LEASE).build().await?)
}

/// Sends every task of a run, and notes their ids in it.
async fn send(app: &App, run: &mut Run, pace: Duration) -> Result<AsyncResult<Totals>, BoxError> {
    let retried = tasks::retried::delay().send(app).await?;
    let later = tasks::later::delay().countdown(Duration::from_secs(2)).send(app).await?;
    let too_late = tasks::too_late::delay()
        .countdown(Duration::from_millis(1500))
        .expires_in(Duration::from_millis(500))
        .send(app)
        .await?;
    let fails = tasks::fails::delay().send(app).await?;

    let pace = u64::try_from(pace.as_millis())?;
    let paths = run.files.iter().map(|file| run.folder.join(file).to_string_lossy().into_owned());
    let files = group(paths.map(|path| count_words::s(path, pace)));
    let totals = (files | add_up::p()).send(app).await?;
    // The files' results are the group before the totals.
    let files = totals.parent().and_then(AsyncResult::group).ok_or("the header of a chord comes before its body")?;
    files.save().await?;
    (run.files_id, run.totals_id) = (files.id().to_string(), totals.id().to_string());
    let singles = [
        ("add_up", totals.id()),
        ("retried", retried.id()),
        ("later", later.id()),
        ("too_late", too_late.id()),
        ("fails", fails.id()),
    ];
    run.singles = singles.map(|(name, id)| (name.to_owned(), id.to_string())).into();
    Ok(totals)
}

/// The chord of a run that was stopped, by its ids.
async fn restore(app: &App, run: &Run) -> Result<AsyncResult<Totals>, BoxError> {
    let files = GroupResult::<Json>::restore(app, &run.files_id).await?;
    let files = files.ok_or("the results of the last run are gone; delete its data folder")?;
    Ok(app.result(&*run.totals_id).with_parent(files))
}

/// Runs a worker and shows every change of state, until all tasks are over or ctrl-c comes.
async fn work_and_watch(app: &App, run: &Run, totals: &AsyncResult<Totals>) -> Result<End, BoxError> {
    let (stop, stopped) = oneshot::channel::<()>();
    let worker = app.worker().hostname("quickstart@%h").concurrency(CONCURRENCY);
    let mut work = std::pin::pin!(worker.run_until(async {
        let _ = stopped.await;
    }));
    let end = tokio::select! {
        ended = &mut work => {
            ended?;
            return Err("the worker stopped by itself".into());
        }
        watched = watch(app, run, totals) => watched.map(|()| End::Finished),
        _ = tokio::signal::ctrl_c() => {
            say("ctrl-c: letting the running tasks end");
            Ok(End::Interrupted)
        }
    };
    drop(stop);
    work.await?;
    end
}

/// Waits for every task; `on_message` hands each change of state to the screen, and the chord says how far it is.
async fn watch(app: &App, run: &Run, totals: &AsyncResult<Totals>) -> Result<(), BoxError> {
    let files = totals.parent().and_then(AsyncResult::group).ok_or("the header of a chord comes before its body")?;
    let names =
        files.iter().zip(&run.files).map(|(result, file)| (result.id().to_string(), file.display().to_string()));
    let mut screen = Screen::new(names.collect(), &run.singles);
    let (tell, mut changes) = mpsc::channel(1024);
    let teller = |tell: &mpsc::Sender<Change>| {
        let tell = tell.clone();
        move |document: &ResultDocument| {
            // The channel has room for more than the screen ever lags behind; a change that finds none is only not shown.
            let _ = tell.try_send(Change::of(document));
        }
    };
    let singles: Vec<AsyncResult<Json>> = run.singles.iter().map(|(_, id)| app.result(&**id)).collect();
    let waits = singles.iter().map(|result| result.get().on_message(teller(&tell)).outcome());
    let all_singles = futures_util::future::try_join_all(waits);
    let all_files = files.get().on_message(teller(&tell)).outcomes();
    drop(tell);
    let both = futures_util::future::try_join(all_files, all_singles);
    let show = async {
        let mut progress = std::pin::pin!(totals.progress_stream());
        loop {
            tokio::select! {
                Some(change) = changes.recv() => screen.show(&change),
                Some(progress) = progress.next() => screen.progress(progress?),
                else => break Ok(()),
            }
        }
    };
    let (waited, shown) = futures_util::future::join(both, show).await;
    screen.close();
    waited?;
    shown
}
