//! A numbered database of a Redis server: the namespace of one test.

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
