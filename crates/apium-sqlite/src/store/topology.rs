//! Queues, exchanges and bindings: declaring them, and finding the queues of a message.

use std::collections::HashMap;
use std::sync::Arc;

use apium_transport::broker::topology::{ExchangeType, Queue};
use apium_transport::error::{Error, ErrorKind};
use rusqlite::{Connection, params};

use crate::store::transaction::{Fault, Tx, TxResult};

/// A queue, as its row holds it.
#[derive(Debug)]
pub(crate) struct QueueRow {
    pub(crate) id: i64,
    pub(crate) name: Arc<str>,
    pub(crate) max_priority: Option<u8>,
    hidden: bool,
}

#[derive(Debug)]
struct Exchange {
    kind: ExchangeType,
    /// Routing key and queue id.
    bindings: Vec<(String, i64)>,
}

/// A copy in memory of all that is declared, which the writer keeps between transactions.
#[derive(Debug, Default)]
pub(crate) struct QueueCache {
    /// The counter `topology` when it was read.
    version: Option<i64>,
    by_name: HashMap<Arc<str>, Arc<QueueRow>>,
    by_id: HashMap<i64, Arc<QueueRow>>,
    exchanges: HashMap<String, Exchange>,
}

impl QueueCache {
    /// Removes everything: a transaction that may have changed it was rolled back.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Sets the version: the transaction that has this cache changes what is declared, and the cache with it.
    pub(crate) fn set_version(&mut self, version: i64) {
        self.version = Some(version);
    }

    /// Reads what is declared, if this copy is of another version.
    pub(crate) fn refresh(&mut self, conn: &Connection, version: i64) -> rusqlite::Result<()> {
        if self.version == Some(version) {
            return Ok(());
        }
        self.clear();
        let mut statement = conn.prepare_cached("SELECT id, name, max_priority, hidden FROM queue")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(1)?;
            self.add(QueueRow { id: row.get(0)?, name: name.into(), max_priority: row.get(2)?, hidden: row.get(3)? });
        }
        let mut statement = conn.prepare_cached("SELECT name, kind FROM exchange")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let kind = kind_named(row.get_ref(1)?.as_str()?);
            self.exchanges.insert(row.get(0)?, Exchange { kind, bindings: Vec::new() });
        }
        let mut statement = conn.prepare_cached("SELECT exchange, key, queue FROM binding")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Some(exchange) = self.exchanges.get_mut(row.get_ref(0)?.as_str()?) {
                exchange.bindings.push((row.get(1)?, row.get(2)?));
            }
        }
        self.version = Some(version);
        Ok(())
    }

    fn add(&mut self, queue: QueueRow) -> Arc<QueueRow> {
        let queue = Arc::new(queue);
        self.by_id.insert(queue.id, queue.clone());
        self.by_name.insert(queue.name.clone(), queue.clone());
        queue
    }

    /// The queue with this id, hidden or not.
    pub(crate) fn by_id(&self, id: i64) -> Option<&Arc<QueueRow>> {
        self.by_id.get(&id)
    }

    /// The queue with this name, unless it is hidden.
    pub(crate) fn by_name(&self, name: &str) -> Option<&Arc<QueueRow>> {
        self.by_name.get(name).filter(|queue| !queue.hidden)
    }
}

/// The type of an exchange as it is stored.
fn kind_named(name: &str) -> ExchangeType {
    ExchangeType::named(name).unwrap_or(ExchangeType::Direct)
}

/// Returns the queue with this name, after creating or unhiding it if needed.
pub(crate) fn ensure_queue(tx: &mut Tx<'_>, name: &str) -> TxResult<Arc<QueueRow>> {
    match tx.queues.by_name.get(name) {
        Some(queue) if !queue.hidden => Ok(queue.clone()),
        Some(queue) => {
            let queue = queue.clone();
            tx.change_topology();
            tx.conn.prepare_cached("UPDATE queue SET hidden = 0 WHERE id = ?1")?.execute([queue.id])?;
            let unhidden =
                QueueRow { id: queue.id, name: queue.name.clone(), max_priority: queue.max_priority, hidden: false };
            Ok(tx.queues.add(unhidden))
        }
        None => {
            let id = tx.change_topology();
            tx.conn
                .prepare_cached("INSERT INTO queue (id, name, max_priority, hidden) VALUES (?1, ?2, NULL, 0)")?
                .execute(params![id, name])?;
            Ok(tx.queues.add(QueueRow { id, name: name.into(), max_priority: None, hidden: false }))
        }
    }
}

/// Declares queues with their exchanges and bindings.
pub(crate) fn declare(tx: &mut Tx<'_>, queues: &[Queue]) -> TxResult<()> {
    for queue in queues {
        if let Some(exchange) = tx.queues.exchanges.get(&queue.exchange)
            && exchange.kind != queue.exchange_type
        {
            return Err(Fault::Refused(Error::new(
                ErrorKind::Refused,
                format!(
                    "declare the queue {:?}: its exchange {:?} exists with the type {}, not {}; give it another name",
                    queue.name,
                    queue.exchange,
                    exchange.kind.name(),
                    queue.exchange_type.name()
                ),
            )));
        }
    }
    for queue in queues {
        let row = ensure_queue(tx, &queue.name)?;
        if queue.max_priority.is_some() && queue.max_priority != row.max_priority {
            tx.change_topology();
            tx.conn
                .prepare_cached("UPDATE queue SET max_priority = ?2 WHERE id = ?1")?
                .execute(params![row.id, queue.max_priority])?;
            tx.queues.add(QueueRow {
                id: row.id,
                name: row.name.clone(),
                max_priority: queue.max_priority,
                hidden: false,
            });
        }
        bind(tx, queue, row.id)?;
    }
    Ok(())
}

fn bind(tx: &mut Tx<'_>, queue: &Queue, id: i64) -> TxResult<()> {
    if queue.exchange.is_empty() {
        return Ok(());
    }
    if !tx.queues.exchanges.contains_key(&queue.exchange) {
        tx.change_topology();
        tx.conn
            .prepare_cached("INSERT INTO exchange (name, kind) VALUES (?1, ?2)")?
            .execute([&*queue.exchange, queue.exchange_type.name()])?;
        let exchange = Exchange { kind: queue.exchange_type, bindings: Vec::new() };
        tx.queues.exchanges.insert(queue.exchange.clone(), exchange);
    }
    let binding = (queue.routing_key.clone(), id);
    if tx.queues.exchanges.get(&queue.exchange).is_some_and(|exchange| exchange.bindings.contains(&binding)) {
        return Ok(());
    }
    tx.change_topology();
    tx.conn
        .prepare_cached("INSERT OR IGNORE INTO binding (exchange, key, queue) VALUES (?1, ?2, ?3)")?
        .execute(params![queue.exchange, queue.routing_key, id])?;
    if let Some(exchange) = tx.queues.exchanges.get_mut(&queue.exchange) {
        exchange.bindings.push(binding);
    }
    Ok(())
}

/// Hides a queue and deletes its bindings. The caller deletes its messages.
pub(crate) fn hide(tx: &mut Tx<'_>, queue: &QueueRow) -> TxResult<()> {
    tx.change_topology();
    tx.conn.prepare_cached("UPDATE queue SET hidden = 1 WHERE id = ?1")?.execute([queue.id])?;
    tx.conn.prepare_cached("DELETE FROM binding WHERE queue = ?1")?.execute([queue.id])?;
    for exchange in tx.queues.exchanges.values_mut() {
        exchange.bindings.retain(|(_, bound)| *bound != queue.id);
    }
    tx.queues.add(QueueRow { id: queue.id, name: queue.name.clone(), max_priority: queue.max_priority, hidden: true });
    Ok(())
}

/// The queues of a message, each once. On the default exchange, a missing queue is created.
pub(crate) fn route(tx: &mut Tx<'_>, exchange: &str, key: &str) -> TxResult<Vec<Arc<QueueRow>>> {
    if exchange.is_empty() {
        return Ok(vec![ensure_queue(tx, key)?]);
    }
    let refuse = |why: String| {
        Err(Fault::Refused(Error::new(ErrorKind::NotFound, format!("publish to the exchange {exchange:?}: {why}"))))
    };
    let Some(found) = tx.queues.exchanges.get(exchange) else {
        return refuse("it does not exist; declare a queue on it first".to_owned());
    };
    let mut queues: Vec<Arc<QueueRow>> = Vec::new();
    for (bound, id) in &found.bindings {
        let fits = found.kind.routes(bound, key);
        if let Some(queue) =
            tx.queues.by_id(*id).filter(|queue| fits && queues.iter().all(|other| other.id != queue.id))
        {
            queues.push(queue.clone());
        }
    }
    if queues.is_empty() && found.kind == ExchangeType::Direct {
        return refuse(format!("no queue is bound to it with the routing key {key:?}; declare the queue first"));
    }
    Ok(queues)
}
