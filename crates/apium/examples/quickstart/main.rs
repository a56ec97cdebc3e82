//! The quickstart: indexes text files with tasks on an embedded queue. It needs no server and no configuration.
//!
//! ```text
//! cargo run -p quickstart [FOLDER]
//! ```
//!
//! The main part is a chord: one task for each file counts its words and stores its progress, and when all have ended,
//! another task adds them up. Of four other tasks one is retried after an error, one has a countdown, one expires and
//! one fails. Queue and results are in one SQLite file, so a run that was stopped half-way, even by `kill -9`, is
//! resumed when the program is started again.

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
/// How long the tasks of a killed worker stay reserved for it.
const LEASE: Duration = Duration::from_secs(2);

/// The last lines: where to go from here.
const NEXT: &str = "
Next:
  docs/guide/                         a program of your own, step by step
  docs/FROM-CELERY.md                 what you know from Celery, and what differs
  cargo run -p apium --example album  a small service, made by several workers";

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
    // Without stderr the exit code is the only message.
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
    ExitCode::from(code)
}

/// How a start of the quickstart ended.
enum End {
    /// Every task has ended.
    Finished,
    /// Ctrl-c was pressed before.
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

    let end = run_and_watch(&app, &run, &totals).await?;
    match end {
        End::Finished => {
            summary::print(&app, &run, &totals).await?;
            run.phase = Phase::Finished;
            data.save(&run)?;
            say(&format!("\nThe results are stored in {}", data.address(&run)));
            say(NEXT);
        }
        End::Interrupted => say("stopped half-way; start the quickstart again to resume the run"),
    }
    app.close().await?;
    Ok(end)
}

/// The last run, when it was stopped half-way.
fn find_run(data: &Data, folder: &Path) -> Option<Run> {
    let run = data.last_run()?;
    match run.phase {
        Phase::Finished => None,
        Phase::Sending => {
            say(&format!("run {} was stopped before its tasks were sent; starting a new one", run.id));
            None
        }
        Phase::Running if run.folder != folder => {
            say(&format!("run {} of {} is dropped, because another folder was named", run.id, run.folder.display()));
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

/// Sends every task of a run, and records their ids in it.
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
    // With the results of the files: they are the parent of the totals.
    totals.save().await?;
    run.totals_id = totals.id().to_string();
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

/// The result of the chord of a run that was stopped.
async fn restore(app: &App, run: &Run) -> Result<AsyncResult<Totals>, BoxError> {
    let totals = app.restore(&run.totals_id).await?;
    Ok(totals.ok_or("the results of the last run are gone; delete its data folder")?)
}

/// Runs a worker and shows every change of state, until all tasks have ended or ctrl-c is pressed.
async fn run_and_watch(app: &App, run: &Run, totals: &AsyncResult<Totals>) -> Result<End, BoxError> {
    let (stop, stopped) = oneshot::channel::<()>();
    let worker = app.worker().hostname("quickstart@%h").concurrency(CONCURRENCY);
    let mut running = std::pin::pin!(worker.run_until(async {
        let _ = stopped.await;
    }));
    let end = tokio::select! {
        ended = &mut running => {
            ended?;
            return Err("the worker stopped by itself".into());
        }
        watched = watch(app, run, totals) => watched.map(|()| End::Finished),
        _ = tokio::signal::ctrl_c() => {
            say("ctrl-c: waiting for the running tasks");
            Ok(End::Interrupted)
        }
    };
    drop(stop);
    running.await?;
    end
}

/// Waits for every task. `on_message` passes each change of state to the screen, and the chord reports its progress.
async fn watch(app: &App, run: &Run, totals: &AsyncResult<Totals>) -> Result<(), BoxError> {
    let files = totals.parent().and_then(AsyncResult::group).ok_or("the header of a chord comes before its body")?;
    let names =
        files.iter().zip(&run.files).map(|(result, file)| (result.id().to_string(), file.display().to_string()));
    let mut screen = Screen::new(names.collect(), &run.singles);
    let (sender, mut changes) = mpsc::channel(1024);
    let on_message = |sender: &mpsc::Sender<Change>| {
        let sender = sender.clone();
        move |document: &ResultDocument| {
            // The channel has room for more changes than the screen is ever behind. A change without room is not shown.
            let _ = sender.try_send(Change::of(document));
        }
    };
    let singles: Vec<AsyncResult<Json>> = run.singles.iter().map(|(_, id)| app.result(&**id)).collect();
    let waits = singles.iter().map(|result| result.get().on_message(on_message(&sender)).outcome());
    let all_singles = futures_util::future::try_join_all(waits);
    let all_files = files.get().on_message(on_message(&sender)).outcomes();
    drop(sender);
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
