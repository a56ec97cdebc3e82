//! A task class: a type with its own data, options and hooks.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use apium::prelude::*;

// guide: class
/// Adds two numbers and a bonus.
struct AddTask {
    bonus: i64,
    successes: Arc<AtomicU32>,
}

impl Task for AddTask {
    const NAME: &'static str = "guide.add_with_bonus";
    type Args = (i64, i64);
    type Output = i64;

    async fn run(&self, _ctx: &Ctx, (x, y): (i64, i64)) -> TaskResult<i64> {
        Ok(x + y + self.bonus)
    }

    async fn on_success(&self, _ctx: &Ctx, _value: &Json) -> TaskResult<()> {
        self.successes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
// guide end

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let successes = Arc::new(AtomicU32::new(0));
    // guide: call
    let app = App::test().register_task(AddTask { bonus: 1, successes: successes.clone() }).build().await?;
    let sent = AddTask::s((2, 2)).send(&app).await?;
    // guide end
    app.drain().await;
    println!("2 + 2 + 1 = {}", sent.get().await?);
    assert_eq!(sent.get().await?, 5);
    assert_eq!(successes.load(Ordering::Relaxed), 1);
    Ok(())
}
