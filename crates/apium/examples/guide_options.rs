//! Options of tasks: how one is given, time limits, a rate limit, and results that nobody reads.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use std::time::Duration;

use apium::prelude::*;

// guide: attribute
/// Scales a picture. Its worker acknowledges it after the run, and ends it after two minutes.
#[task(
    name = "guide.scale",
    queue = "images",
    priority = 5,
    acks_late,
    track_started,
    time_limit = "2m",
    soft_time_limit = "100s",
    expires = "1h"
)]
async fn scale(picture: String) -> TaskResult<String> {
    Ok(format!("small/{picture}"))
}
// guide end

// guide: soft limit
/// Visits pages until its soft limit, and returns how many it has visited.
#[task(name = "guide.crawl", soft_time_limit = 0.1, time_limit = "10s")]
async fn crawl(ctx: &Ctx, pages: u32) -> TaskResult<u32> {
    for page in 0..pages {
        tokio::select! {
            () = ctx.soft_limit().wait() => return Ok(page),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
    Ok(pages)
}

/// A plain function asks now and then. At the soft limit `check` is an error, and the task fails.
#[task(name = "guide.search", soft_time_limit = 0.1)]
fn search(ctx: &Ctx, from: u64) -> TaskResult<u64> {
    let mut number = from;
    while number.trailing_zeros() < 63 {
        ctx.check()?;
        number = number.wrapping_add(1);
    }
    Ok(number)
}
// guide end

/// A service allows two requests a second. Each worker keeps that by itself.
#[task(name = "guide.geocode", rate_limit = "2/s")]
async fn geocode(address: String) -> TaskResult<usize> {
    Ok(address.len())
}

/// Nobody waits for it, so only its failures are stored.
#[task(name = "guide.log_visit", ignore_result, store_errors_even_if_ignored)]
async fn log_visit(page: String) -> TaskResult<usize> {
    Ok(page.len())
}

/// What `apium.toml` has in this program.
const SETTINGS: &str = r#"
# guide: annotations
[task_annotations]
"guide.geocode" = { rate_limit = "10/s" }
"*" = { acks_late = true, time_limit = "5m" }
# guide end
"#;

async fn limits() -> Result<(), BoxError> {
    let app = App::builder("guide").broker("memory://").backend("memory://").build().await?;
    let worker = app.worker().concurrency(2).start().await?;
    let (crawled, searched) = (crawl::delay(100_000).send(&app).await?, search::delay(1).send(&app).await?);
    let (crawled, searched) = (crawled.get().await?, searched.get().outcome().await?);
    worker.stop().await;

    assert!(crawled < 100);
    let failure = searched.failure().ok_or("its soft limit ends it")?.exception().exc_type.to_string();
    println!("visited some pages, and the search ended with {failure}");
    assert_eq!(failure, "SoftTimeLimitExceeded");
    Ok(())
}

async fn rates_and_results() -> Result<(), BoxError> {
    let app = App::test().build().await?;
    for _ in 0..5 {
        geocode::delay("Main Street 1".to_owned()).send(&app).await?;
    }
    assert_eq!((app.drain().await, app.advance(Duration::from_secs(2)).await), (1, 4));

    let logged = log_visit::delay("/".to_owned()).send(&app).await?;
    app.drain().await;
    assert!(logged.ignored() && !app.result::<usize>(logged.id().clone()).exists().await?);
    Ok(())
}

async fn annotations() -> Result<(), BoxError> {
    let mut settings = Settings::new();
    settings.add_toml(SETTINGS, "apium.toml")?;
    let app = App::builder("guide").config(settings).broker("memory://").build().await?;
    let late = |name: &str| app.registry().get(name).is_some_and(|task| task.effective.acks_late);
    assert!(late("guide.geocode") && late("guide.crawl"));
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = App::test().build().await?;
    // guide: call
    let small = scale::delay("bee.png".to_owned()).priority(9).time_limit(Duration::from_secs(300)).send(&app).await?;
    // guide end
    app.drain().await;
    let sent = &app.sent::<scale>()[0];
    assert_eq!((sent.queue(), sent.priority(), small.get().await?), ("images", Some(9), "small/bee.png".to_owned()));

    limits().await?;
    rates_and_results().await?;
    annotations().await
}
