//! Testing tasks: an app with the memory broker and virtual time, which records what was sent.
//!
//! ```
//! use std::time::Duration;
//!
//! use apium::prelude::*;
//!
//! #[task(name = "mail.send")]
//! async fn send_mail(user: i64) -> TaskResult<i64> {
//!     Ok(user)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let app = App::test().build().await?;
//! let sent = send_mail::delay(7).countdown(Duration::from_secs(60)).send(&app).await?;
//! let mails = app.sent::<send_mail>();
//! assert_eq!((mails.len(), mails[0].args(), mails[0].queue()), (1, (7,), "celery"));
//! app.advance(Duration::from_secs(60)).await;    // the minute passes at once
//! assert_eq!(sent.get().await?, 7);
//! # Ok(())
//! # }
//! ```

pub use apium_worker::testing::app::TestApp;
pub use apium_worker::testing::builder::{AppTest, TestBuilder};
pub use apium_worker::testing::sent::Sent;
