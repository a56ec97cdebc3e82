//! Measures what a message costs through the traits of `apium-transport`, against the same code called directly.

use apium_harness::{report, seam};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cost = seam::measure(15, 4_000).await?;
    report::figure("direct", cost.direct, "ns/message");
    report::figure("dyn", cost.boxed, "ns/message");
    report::figure("difference", cost.boxed - cost.direct, "ns/message");
    Ok(())
}
