//! The app that calls use when none is named: inside a task its worker's, else the installed one.

use std::sync::{PoisonError, RwLock};

use crate::app::app::App;
use crate::context::current;
use crate::error::{Error, ErrorKind, Result};

static INSTALLED: RwLock<Option<App>> = RwLock::new(None);

impl App {
    /// Makes this the app of calls that name none, in the whole process, until another is installed. The one global of
    /// Apium, and only for programs that ask for it: `send(&app)` needs none.
    pub fn install(&self) {
        *INSTALLED.write().unwrap_or_else(PoisonError::into_inner) = Some(self.clone());
    }

    /// The app that runs the current task, else the installed one.
    ///
    /// # Errors
    /// [`ErrorKind::NoCurrentApp`] when there is neither.
    pub fn current() -> Result<Self> {
        if let Some(app) = current::get().and_then(|ctx| ctx.publisher().and_then(Self::of_publisher)) {
            return Ok(app);
        }
        let installed = INSTALLED.read().unwrap_or_else(PoisonError::into_inner).clone();
        installed.ok_or_else(|| {
            Error::new(
                ErrorKind::NoCurrentApp,
                "find the app of the call: name it with .send(&app), or install one with app.install()",
            )
        })
    }
}
