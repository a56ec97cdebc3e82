//! A message's position in its queue as one integer, the rank: larger priority first, then lower order first.

/// Bits of an order.
const ORDER_BITS: u32 = 48;

/// The rank of a message with this order and priority. Ascending ranks are the order of delivery.
pub(crate) fn rank(order: i64, priority: u8) -> i64 {
    order - (i64::from(priority) << ORDER_BITS)
}

/// The priority inside a rank.
pub(crate) fn priority_of(rank: i64) -> u8 {
    let order = rank & ((1 << ORDER_BITS) - 1);
    u8::try_from((order - rank) >> ORDER_BITS).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::{priority_of, rank};

    #[test]
    fn larger_priority_first_then_lower_order_first() {
        let last = (1 << 48) - 1;
        let mut positions = [(1, 0), (2, 0), (3, 9), (4, 255), (5, 9), (last, 255), (last, 0)];
        positions.sort_by_key(|(order, priority)| rank(*order, *priority));
        assert_eq!(positions, [(4, 255), (last, 255), (3, 9), (5, 9), (1, 0), (2, 0), (last, 0)]);
        for (order, priority) in positions {
            assert_eq!(priority_of(rank(order, priority)), priority);
        }
    }
}
