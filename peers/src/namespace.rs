//! The namespace of one test: a numbered database of a Redis server, or a virtual host of a RabbitMQ node.

use std::sync::{Mutex, PoisonError};

/// How many are made at once: starting the tool takes longer than making one.
const AT_ONCE: u32 = 24;

/// One numbered database.
#[derive(Debug, Clone)]
pub struct Database {
    /// Its address.
    pub url: String,
    /// Its number.
    pub number: u32,
}

impl Database {
    /// A blocking connection, to look at keys.
    #[cfg(feature = "client")]
    pub fn connection(&self) -> redis::Connection {
        let connection = redis::Client::open(&*self.url).and_then(|client| client.get_connection());
        connection.unwrap_or_else(|error| panic!("could not connect to database {}: {error}", self.number))
    }
}

/// One virtual host.
#[derive(Debug, Clone)]
pub struct Vhost {
    /// Its address.
    pub url: String,
    /// Its name.
    pub name: String,
}

/// The virtual hosts of a node that are given out.
#[derive(Debug, Default)]
pub(crate) struct Vhosts(Mutex<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    given: u32,
    made: u32,
}

impl Vhosts {
    /// The name of one that nobody has. `eval` evaluates an expression in the node.
    #[track_caller]
    pub(crate) fn take(&self, eval: impl Fn(&str) -> String) -> String {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if numbers.given == numbers.made {
            let (first, last) = (numbers.made + 1, numbers.made + AT_ONCE);
            // The name, the user, and the permissions of the user in it.
            eval(&format!(
                "[begin V = iolist_to_binary([\"test-\", integer_to_list(N)]), ok = rabbit_vhost:add(V, <<\"tests\">>), \
                 ok = rabbit_auth_backend_internal:set_permissions(<<\"guest\">>, V, <<\".*\">>, <<\".*\">>, <<\".*\">>, \
                 <<\"tests\">>) end || N <- lists:seq({first}, {last})], ok."
            ));
            numbers.made = last;
        }
        numbers.given += 1;
        format!("test-{}", numbers.given)
    }
}
