//! Arguments and results: every serializer and compression, and Python's types.

use serde_json::{Value, json};

/// Values that every serializer carries.
fn plain_values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(-9_007_199_254_740_993_i64),
        json!(u64::MAX),
        json!(1.5),
        json!(3.0),
        json!(1e300),
        json!(""),
        json!("ü 日本 \u{1f40d} \\ \" \n\t\u{1}\u{7f}"),
        json!([[], [[1, "a"]], {}]),
        json!({ "b": 1, "a": { "": [null] }, "yes": "no", "1": "01", "~": "null" }),
        json!("A".repeat(70_000)),
    ]
}

/// Values of Python's types, as kombu writes them into JSON.
fn python_values() -> Value {
    let typed = |kind: &str, value: Value| json!({ "__type__": kind, "__value__": value });
    json!([
        typed("datetime", json!("2020-01-02T03:04:05.000006+00:00")),
        typed("datetime", json!("2020-01-02T03:04:05+05:30")),
        typed("datetime", json!("2020-01-02T03:04:05.678900")),
        typed("date", json!("2020-01-02")),
        typed("time", json!("03:04:05.000006")),
        typed("decimal", json!("1.50")),
        typed("uuid", json!({ "hex": "00000000000000000000000000000005" })),
        typed("base64", json!("/wA=")),
        typed("bytes", json!("txt")),
    ])
}

on_every_pair! {
    async fn values_return_unchanged(pair: &Pair) {
        for serializer in ["json", "msgpack", "yaml"] {
            let options = json!({ "serializer": serializer });
            let sent = json!({ "args": plain_values(), "kwargs": { "list": plain_values() } });
            let id = pair.call("tasks.echo", sent["args"].clone(), sent["kwargs"].clone(), options).await;
            assert_eq!(pair.get(&id).await.success(), &sent, "{serializer}");
        }
    }

    async fn every_compression_is_undone(pair: &Pair) {
        for compression in ["gzip", "bzip2", "lzma", "brotli", "zstd"] {
            for serializer in ["json", "msgpack"] {
                let options = json!({ "compression": compression, "serializer": serializer });
                let args = json!(["A".repeat(5000), { "k": [1, 2] }]);
                let id = pair.call("tasks.echo", args.clone(), json!({}), options).await;
                assert_eq!(pair.get(&id).await.success()["args"], args, "{compression} {serializer}");
            }
        }
    }

    async fn types_of_python_stay_what_they_are(pair: &Pair) {
        let values = python_values();
        assert_eq!(pair.value("tasks.identity", json!([values]), json!({})).await, values);
        // YAML has only some of these types.
        let some: Vec<Value> = [0, 1, 3, 7].iter().map(|index| values[*index].clone()).collect();
        let options = json!({ "serializer": "yaml" });
        assert_eq!(pair.value("tasks.identity", json!([some]), options).await, json!(some));
    }

    async fn integers_have_any_size(pair: &Pair) {
        let id = pair.send("tasks.mul", json!([i64::MAX, u64::MAX])).await;
        let seen = pair.get(&id).await;
        // serde_json reads integers that are too large as floats, for both sides.
        assert_eq!(seen.success().as_f64(), Some(i64::MAX as f64 * u64::MAX as f64));
        let document = pair.rust.result::<apium::prelude::Json>(&*id).info().await.unwrap();
        assert_eq!(document.as_str(), "170141183460469231704017187605319778305");
    }

    async fn none_and_floats_are_results(pair: &Pair) {
        assert_eq!(pair.value("tasks.noop", json!([]), json!({})).await, json!(null));
        assert_eq!(pair.value("tasks.add", json!([2, 0.5]), json!({})).await, json!(2.5));
        assert_eq!(pair.value("tasks.add", json!(["a", "b"]), json!({})).await, json!("ab"));
        assert_eq!(pair.value("tasks.xsum", json!([[1, 2, 3]]), json!({})).await, json!(6));
    }
}
