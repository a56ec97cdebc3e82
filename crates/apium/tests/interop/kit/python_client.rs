//! `tests/interop/client.py`: Celery as caller and as reader of results. A request is a line, and so is its answer.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use apium_peers::python::Python;
use serde_json::Value;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(120);

/// The environment variables of a client.
pub(crate) type Variables = Vec<(&'static str, String)>;

/// Clients that no test uses at the moment. They are reused, because starting one takes half a second.
static IDLE: Mutex<Vec<PythonClient>> = Mutex::new(Vec::new());

/// A running client. It ends with this process, because its standard input closes then.
#[derive(Debug, Clone)]
pub(crate) struct PythonClient {
    variables: Variables,
    pipes: Arc<Mutex<Pipes>>,
}

#[derive(Debug)]
struct Pipes {
    child: Child,
    requests: ChildStdin,
    answers: mpsc::Receiver<String>,
}

impl PythonClient {
    fn start(variables: Variables) -> Self {
        let env: Vec<_> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
        let mut command = Python::find().command(["client.py"], &env);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (requests, lines) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, answers) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { variables, pipes: Arc::new(Mutex::new(Pipes { child, requests, answers })) }
    }

    /// Sends a request to `client.py` and waits for the answer, without blocking the test's other futures.
    pub(crate) async fn ask(&self, request: Value) -> Value {
        let pipes = self.pipes.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let mut pipes = pipes.lock().unwrap();
            writeln!(pipes.requests, "{request}").unwrap();
            let answer = pipes.answers.recv_timeout(LIMIT);
            let answer = answer.unwrap_or_else(|error| panic!("no answer to {request}: {error}"));
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert!(answer.get("error").is_none(), "{request}: {}", answer["error"].as_str().unwrap_or_default());
            answer
        });
        answer.await.unwrap()
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        // No test will use it any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client for one test. Other tests use it afterwards.
#[derive(Debug)]
pub(crate) struct BorrowedClient(Option<PythonClient>);

impl BorrowedClient {
    pub(crate) fn of(variables: Variables) -> Self {
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        let index = idle.iter().position(|client| client.variables == variables);
        let found = index.map(|index| idle.swap_remove(index));
        drop(idle);
        Self(Some(found.unwrap_or_else(|| PythonClient::start(variables))))
    }

    pub(crate) async fn ask(&self, request: Value) -> Value {
        self.0.as_ref().unwrap().ask(request).await
    }
}

impl Drop for BorrowedClient {
    fn drop(&mut self) {
        // The client of a failed test may have an answer left to send.
        if let Some(client) = self.0.take().filter(|_| !std::thread::panicking()) {
            IDLE.lock().unwrap_or_else(PoisonError::into_inner).push(client);
        }
    }
}
