//! Declarations: exchanges, queues and bindings as Celery declares them.

use std::collections::BTreeMap;

use apium_protocol::json::text::Json;
use apium_protocol::value::value::Value;
use apium_transport::broker::topology::{ExchangeType, Queue, QueueType};
use apium_transport::error::{Error, ErrorKind, Result};
use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};

use crate::commands::Commands;
use crate::errors::is_not_found;
use crate::publish::declared::KnownExchange;
use crate::publish::delayed;
use crate::publish::table::{from_json_map, int, short};
use crate::shared::BrokerShared;

/// The library's name of an exchange type.
pub(crate) fn kind_of(kind: ExchangeType) -> ExchangeKind {
    match kind {
        ExchangeType::Direct => ExchangeKind::Direct,
        ExchangeType::Topic => ExchangeKind::Topic,
        ExchangeType::Fanout => ExchangeKind::Fanout,
        ExchangeType::Headers => ExchangeKind::Headers,
    }
}

impl BrokerShared {
    /// Declares queues with their exchanges and bindings.
    pub(crate) async fn declare(&self, queues: &[Queue]) -> Result<()> {
        self.check_open("declare queues")?;
        if queues.is_empty() {
            return Ok(());
        }
        let mut commands = self.commands("declare queues").await?;
        for queue in queues {
            self.declare_one(&mut commands, queue).await?;
            self.declared.add_wanted(queue);
        }
        for queue in queues {
            // Celery's clients delay in the server then, and rely on the queues of delays.
            if queue.exchange_type != ExchangeType::Direct && is_quorum(&self.arguments(queue)?) {
                self.declare_delays(&mut commands).await?;
            }
        }
        Ok(())
    }

    async fn declare_one(&self, commands: &mut Commands<'_>, queue: &Queue) -> Result<()> {
        if !queue.exchange.is_empty() {
            self.declare_exchange(commands, &queue.exchange, queue.exchange_type, true).await?;
        }
        let what = format!("declare the queue {:?}", queue.name);
        let channel = commands.channel(&what).await?;
        let options = QueueDeclareOptions { durable: queue.durable, ..QueueDeclareOptions::default() };
        let (name, arguments) = (short("name of a queue", &queue.name)?, self.arguments(queue)?);
        channel.run(&what, |channel| channel.queue_declare(name.clone(), options, arguments)).await?;
        if !queue.exchange.is_empty() {
            let what = format!("bind the queue {:?} to the exchange {:?}", queue.name, queue.exchange);
            let exchange = short("name of an exchange", &queue.exchange)?;
            let key = short("routing key", &queue.routing_key)?;
            let options = QueueBindOptions::default();
            let arguments = table(queue, &queue.binding_arguments)?;
            channel.run(&what, |channel| channel.queue_bind(name, exchange, key, options, arguments)).await?;
        }
        self.declared.add_queue(&queue.name);
        if self.declared.has_delays() {
            self.bind_delayed(commands, queue).await?;
        }
        Ok(())
    }

    /// Declares an exchange, unless this process has.
    pub(crate) async fn declare_exchange(
        &self,
        commands: &mut Commands<'_>,
        name: &str,
        kind: ExchangeType,
        durable: bool,
    ) -> Result<()> {
        if self.declared.exchange(name) == Some(KnownExchange::Declared(kind)) {
            return Ok(());
        }
        let what = format!("declare the {} exchange {name:?}", kind.name());
        let channel = commands.channel(&what).await?;
        let options = ExchangeDeclareOptions { durable, ..ExchangeDeclareOptions::default() };
        let short = short("name of an exchange", name)?;
        channel
            .run(&what, |channel| channel.exchange_declare(short, kind_of(kind), options, FieldTable::default()))
            .await?;
        self.declared.add_exchange(name, KnownExchange::Declared(kind));
        Ok(())
    }

    /// The arguments of a queue.
    fn arguments(&self, queue: &Queue) -> Result<FieldTable> {
        let mut arguments = table(queue, &queue.arguments)?;
        if let Some(kind) = self.options.queue_type
            && !arguments.contains_key("x-queue-type")
        {
            arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.name().into()));
        }
        if let Some(most) = queue.max_priority.or(self.options.max_priority).filter(|most| *most > 0)
            && !is_quorum(&arguments)
            && !arguments.contains_key("x-max-priority")
        {
            arguments.insert("x-max-priority".into(), int(most.into()));
        }
        Ok(arguments)
    }

    /// Makes sure that a queue is there. One that nobody has named is taken as it is, or declared as Celery does it.
    pub(crate) async fn ensure_queue(&self, name: &str) -> Result<()> {
        if self.declared.has_queue(name) {
            return Ok(());
        }
        let what = format!("look for the queue {name:?}");
        let mut commands = self.commands(&what).await?;
        if self.declared.has_queue(name) {
            return Ok(());
        }
        let wanted = self.declared.wanted(name);
        if !wanted.is_empty() {
            for queue in &wanted {
                self.declare_one(&mut commands, queue).await?;
            }
            return Ok(());
        }
        if queue_counts(&mut commands, name).await?.is_none() {
            return self.declare_one(&mut commands, &Queue::new(name)).await;
        }
        self.declared.add_queue(name);
        Ok(())
    }

    /// How an exchange routes; `None` if it is not there.
    pub(crate) async fn known_exchange(&self, name: &str) -> Result<Option<KnownExchange>> {
        if let Some(known) = self.declared.exchange(name) {
            return Ok(Some(known));
        }
        let what = format!("look for the exchange {name:?}");
        let mut commands = self.commands(&what).await?;
        let channel = commands.channel(&what).await?;
        let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let short = short("name of an exchange", name)?;
        // The type means nothing to the server here.
        let kind = ExchangeKind::Direct;
        let looked = channel.attempt(|channel| channel.exchange_declare(short, kind, options, FieldTable::default()));
        match looked.await {
            Ok(()) => {
                self.declared.add_exchange(name, KnownExchange::Exists);
                Ok(Some(KnownExchange::Exists))
            }
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(channel.error(&what, &error)),
        }
    }

    /// Makes sure that messages can wait in the server, and that a queue gets those that waited for it.
    pub(crate) async fn ensure_delayed(&self, queue: &str) -> Result<()> {
        if self.declared.is_delayed(queue) {
            return Ok(());
        }
        self.ensure_queue(queue).await?;
        let mut commands = self.commands("declare the queues of delays").await?;
        self.declare_delays(&mut commands).await?;
        if !self.declared.is_delayed(queue) {
            delayed::bind_queue(&mut commands, queue).await?;
            self.declared.add_delayed(queue);
        }
        Ok(())
    }

    /// Declares the queues of delays, and binds the queues that the program named.
    pub(crate) async fn declare_delays(&self, commands: &mut Commands<'_>) -> Result<()> {
        if !self.declared.has_delays() {
            delayed::declare(commands, self.options.delay_queue_type).await?;
            self.declared.set_delays();
            for queue in self.declared.all_wanted() {
                if self.declared.has_queue(&queue.name) {
                    self.bind_delayed(commands, &queue).await?;
                }
            }
        }
        Ok(())
    }

    /// Lets a queue that the program named get delayed messages.
    async fn bind_delayed(&self, commands: &mut Commands<'_>, queue: &Queue) -> Result<()> {
        if !self.declared.is_delayed(&queue.name) {
            delayed::bind_queue(commands, &queue.name).await?;
            self.declared.add_delayed(&queue.name);
        }
        if queue.exchange_type != ExchangeType::Direct {
            delayed::bind_exchange(commands, queue).await?;
        }
        Ok(())
    }
}

/// Arguments of a queue or of its binding for the wire.
fn table(queue: &Queue, arguments: &BTreeMap<String, Json>) -> Result<FieldTable> {
    let read = |(name, value): (&String, &Json)| match value.to_value() {
        Ok(value) => Ok((name.clone(), value)),
        Err(error) => {
            let what = format!("read the argument {name:?} of the queue {:?}", queue.name);
            Err(Error::new(ErrorKind::Refused, what).with_source(error))
        }
    };
    let entries: Result<Vec<(String, Value)>> = arguments.iter().map(read).collect();
    from_json_map(&Json::from_value(&Value::Map(entries?)))
}

/// Whether the arguments of a queue say that it is a quorum queue.
fn is_quorum(arguments: &FieldTable) -> bool {
    arguments.inner().get("x-queue-type") == Some(&AMQPValue::LongString(QueueType::Quorum.name().into()))
}

/// How many messages of a queue can be delivered, and how many consumers it has; `None` if it is not there.
pub(crate) async fn queue_counts(commands: &mut Commands<'_>, name: &str) -> Result<Option<(u64, u64)>> {
    let what = format!("look for the queue {name:?}");
    let channel = commands.channel(&what).await?;
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let name = short("name of a queue", name)?;
    match channel.attempt(|channel| channel.queue_declare(name, options, FieldTable::default())).await {
        Ok(queue) => Ok(Some((queue.message_count().into(), queue.consumer_count().into()))),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(channel.error(&what, &error)),
    }
}
