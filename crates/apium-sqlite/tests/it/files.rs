//! Files that cannot be used: each gives an error of the right kind that names the file and says what to do.

use std::fs;
use std::path::Path;

use apium_transport::clock::Clock;
use apium_transport::error::{Error, ErrorKind};
use rusqlite::Connection;

use crate::kit::{open, receipts, soon, spec, to, try_open};

async fn refused(path: &Path) -> Error {
    let error = try_open(path, &Clock::system()).await.expect_err("was opened");
    assert!(error.to_string().contains(&path.display().to_string()), "{error} does not name the file");
    error
}

#[tokio::test]
async fn what_is_no_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let text = "this is a text that is long enough to be taken for a page of a database".repeat(100);
    fs::write(&path, &text).unwrap();
    let error = refused(&path).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("no SQLite database"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_damaged_file_is_corrupt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let handles = open(&path, &Clock::system()).await;
    let batch = (0..500).map(|n| to("q", &format!("m{n}"))).collect();
    handles.broker.publish(batch).await.unwrap();
    drop(handles);
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[4096..end].fill(0xA5);
    fs::write(&path, bytes).unwrap();
    let error = match try_open(&path, &Clock::system()).await {
        Err(error) => error,
        Ok(handles) => handles.broker.publish(vec![to("q", "m")]).await.unwrap_err(),
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("damaged"), "{error}");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
}

#[tokio::test]
async fn the_database_of_another_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE message (text)").unwrap();
    let error = refused(&path).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("another program"), "{error}");
}

#[tokio::test]
async fn tables_of_a_newer_version_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    drop(open(&path, &Clock::system()).await);
    Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 7").unwrap();
    let error = refused(&path).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("version 7"), "{error}");
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = refused(&folder.path().join("missing/q.db")).await;
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("does not exist"), "{error}");
    assert_eq!(refused(folder.path()).await.kind(), ErrorKind::Refused);
}

/// Whether this user cannot write there. The superuser can write everywhere.
#[cfg(unix)]
fn is_read_only(path: &Path) -> bool {
    let writable = if path.is_dir() {
        fs::write(path.join("probe"), "").is_ok()
    } else {
        fs::File::options().append(true).open(path).is_ok()
    };
    !writable
}

#[cfg(unix)]
#[tokio::test]
async fn a_read_only_file_or_folder_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    drop(open(&path, &Clock::system()).await);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    if is_read_only(&path) {
        assert_eq!(refused(&path).await.kind(), ErrorKind::Refused);
    }
    fs::remove_file(&path).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    if is_read_only(folder.path()) {
        assert_eq!(refused(&path).await.kind(), ErrorKind::Refused);
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn a_request_that_fails_spoils_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.db");
    let handles = open(&path, &Clock::system()).await;
    handles.broker.publish(vec![to("q", "first")]).await.unwrap();
    // A trigger fails in the middle of a transaction, as a full disk does. A message without a priority counts as one
    // of 1.
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(
        "CREATE TRIGGER full BEFORE INSERT ON ready WHEN new.rank + (1 << 48) > 1 BEGIN SELECT raise(ABORT, 'full'); END",
    )
    .unwrap();
    let topology = apium_transport::broker::topology::Topology::new(vec!["other".into()]);
    let (bad, also) = tokio::join!(handles.broker.publish(vec![to("q", "second")]), handles.broker.declare(&topology));
    assert!(bad.unwrap_err().to_string().starts_with("publish in "));
    also.expect("a request was spoilt by another of the same transaction");
    conn.execute_batch("DROP TRIGGER full").unwrap();
    handles.broker.publish(vec![to("q", "third")]).await.unwrap();
    let mut consumer = handles.broker.consume(spec("q", "n@h", 0)).await.unwrap();
    let got = soon("two messages", consumer.next(10)).await.unwrap();
    assert_eq!(got.iter().map(crate::kit::id_of).collect::<Vec<_>>(), ["first", "third"]);
    consumer.acker().ack(receipts(&got)).await.unwrap();
    consumer.close().await.unwrap();
}
