//! Groups: many tasks at once, with their results in order.
#![expect(clippy::print_stdout, reason = "an example prints what it shows")]

use apium::prelude::*;

#[task(name = "guide.add")]
async fn add(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x + y)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let app = App::test().build().await?;

    let sums = group([(2, 2), (4, 4), (8, 8), (16, 16)].map(|(x, y)| add::s(x, y))).send(&app).await?;
    assert!(!sums.ready().await?);
    app.drain().await;

    let values = sums.get().await?;
    println!("{values:?}");
    assert_eq!(values, [4, 8, 16, 32]);
    assert!(sums.successful().await?);
    assert_eq!(sums.completed_count().await?, 4);

    // guide: saved
    // A saved group can be restored by its id.
    sums.save().await?;
    let restored = GroupResult::<i64>::restore(&app, sums.id().as_str()).await?.ok_or("a saved group is found")?;
    assert_eq!(restored.get().await?, values);
    // guide end
    Ok(())
}
