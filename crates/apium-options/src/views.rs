//! The views of the table. Each has the rows that one use needs, and the parts of them that it needs.
//!
//! | view | its rows |
//! |---|---|
//! | `rows` | the row as a `TaskOption` |
//! | `attribute` | `name Kind "doc" "default";`, the options of `#[task]`; `in list as name` after the kind of those in lists |
//! | `stub` | `name yes "doc" "default";`, the options of `extern_task!` |
//! | `task` | `name [docs] (Type);`, the fields of `TaskOptions` |
//! | `annotation` | `name (Type);` |
//! | `resolved`, `named` | `name [docs] setting (Type) (default);` |
//! | `effective_only` | `name [docs] (Type) (default);` |
//! | `call`, `rare` | `name [docs] (Type);`, the fields of `CallOptions` and `RareOptions` |
//! | `from_task` | `name yes;` |
//! | `call_route`, `rare_route` | `name (Type);` |
//! | `call_wire`, `rare_wire` | `name "form";`, the options that are written and read |
//! | `call_read` | `name "form";`, the options that are only read |
//! | `call_setter`, `rare_setter` | `name [docs] setter(argument: Type) (value);` |
//! | `retry` | `name [docs] (Type) (argument: Type) (value);` |
//!
//! The docs are texts for `concat!`.

/// Splits the table into its views, and passes on the requested one.
#[doc(hidden)]
#[macro_export]
macro_rules! __option_views {
    ($view:ident $then:ident $context:tt $(
        $name:ident $doc:literal
        $(attribute($kind:ident $(in $list:ident as $key:ident)?))? $(stub($stub:ident))?
        $(task($task:ty))?
        $(annotation($annotation:ty))?
        $(resolved($resolved_setting:ident: $resolved:ty = $resolved_default:expr))?
        $(named($named_setting:ident: $named:ty = $named_default:expr))?
        $(effective_only($effective_only:ty = $effective_only_default:expr))?
        $(setting($task_setting:ident))?
        $(call($call:ty)
            $(setting($call_setting:ident))?
            $(from_task($from_task:ident))?
            $(route($call_route:ty))?
            $(wire($call_wire:literal))?
            $(read($call_read:literal))?
            $(setter($call_setter:ident($call_arg:ident: $call_arg_ty:ty) = $call_value:expr $(, $call_more:literal)?))*
        )?
        $(rare($rare:ty)
            $(route($rare_route:ty))?
            $(wire($rare_wire:literal))?
            $(setter($rare_setter:ident($rare_arg:ident: $rare_arg_ty:ty) = $rare_value:expr))*
        )?
        $(methods($methods:literal $(, wire $by_hand:literal)?))?
        $(retry($retry:ty; $retry_arg:ident: $retry_arg_ty:ty = $retry_value:expr))?
        default($default:literal)
    ;)+) => { $crate::__option_view! { $view $then $context
        rows { $(
            $crate::option::TaskOption {
                name: stringify!($name),
                doc: $doc,
                attribute: $crate::__first!($($crate::option::Attribute {
                    kind: $crate::kind::ValueKind::$kind,
                    inside: $crate::__first!($((stringify!($list), stringify!($key)))?),
                })?),
                declared: $crate::__any!($($task)?),
                callers_decide: $crate::__any!($($stub)? $($($from_task)?)?),
                annotation: $crate::__any!($($annotation)?),
                setting: $crate::__first!(
                    $(stringify!($resolved_setting))?
                    $(stringify!($named_setting))?
                    $(stringify!($task_setting))?
                    $($(stringify!($call_setting))?)?
                ),
                call: $crate::__any!($($call)? $($rare)?),
                route: $crate::__any!($($($call_route)?)? $($($rare_route)?)?),
                wire: $crate::__first!($($($call_wire)? $($call_read)?)? $($($rare_wire)?)? $($($by_hand)?)?),
                setters: &[
                    $($($crate::option::Setter {
                        name: stringify!($call_setter),
                        argument: stringify!($call_arg_ty),
                    },)*)?
                    $($($crate::option::Setter {
                        name: stringify!($rare_setter),
                        argument: stringify!($rare_arg_ty),
                    },)*)?
                ],
                methods: $crate::__first!($($methods)?),
                retry: $crate::__first!($($crate::option::Setter {
                    name: stringify!($name),
                    argument: stringify!($retry_arg_ty),
                })?),
                default: $default,
            },
        )+ }
        attribute { $($($name $kind $(in $list as $key)? $doc $default;)?)+ }
        stub { $($($name $stub $doc $default;)?)+ $($($($name $from_task $doc $default;)?)?)+ }
        task { $($($name [$doc, "\n\nDefault: ", $default, "."] ($task);)?)+ }
        annotation { $($($name ($annotation);)?)+ }
        resolved { $($($name [$doc] $resolved_setting ($resolved) ($resolved_default);)?)+ }
        named { $($($name [$doc] $named_setting ($named) ($named_default);)?)+ }
        effective_only { $($($name [$doc] ($effective_only) ($effective_only_default);)?)+ }
        call { $($($name [$doc, "\n\nDefault: ", $default, "."] ($call);)?)+ }
        rare { $($($name [$doc, "\n\nDefault: ", $default, "."] ($rare);)?)+ }
        from_task { $($($($name $from_task;)?)?)+ }
        call_route { $($($($name ($call_route);)?)?)+ }
        rare_route { $($($($name ($rare_route);)?)?)+ }
        call_wire { $($($($name $call_wire;)?)?)+ }
        rare_wire { $($($($name $rare_wire;)?)?)+ }
        call_read { $($($($name $call_read;)?)?)+ }
        call_setter {
            $($($(
                $name [$doc $(, "\n\n", $call_more)?, "\n\nDefault: ", $default, "."]
                $call_setter($call_arg: $call_arg_ty) ($call_value);
            )*)?)+
        }
        rare_setter {
            $($($(
                $name [$doc, "\n\nDefault: ", $default, "."]
                $rare_setter($rare_arg: $rare_arg_ty) ($rare_value);
            )*)?)+
        }
        retry { $($($name [$doc] ($retry) ($retry_arg: $retry_arg_ty) ($retry_value);)?)+ }
    } };
}

/// Finds the requested view among all, and calls the macro with it.
#[doc(hidden)]
#[macro_export]
macro_rules! __option_view {
    (rows $then:ident [$($context:tt)*] rows $rows:tt $($other:tt)*) => { $then! { $($context)* $rows } };
    (attribute $then:ident [$($context:tt)*] attribute $rows:tt $($other:tt)*) => { $then! { $($context)* $rows } };
    (stub $then:ident [$($context:tt)*] stub $rows:tt $($other:tt)*) => { $then! { $($context)* $rows } };
    (task $then:ident [$($context:tt)*] task $rows:tt $($other:tt)*) => { $then! { $($context)* $rows } };
    (annotation $then:ident [$($context:tt)*] annotation $rows:tt $($other:tt)*) => { $then! { $($context)* $rows } };
    (resolved $then:ident [$($context:tt)*] resolved $rows:tt $($other:tt)*) => { $then! { $($context)* $rows } };
    (named $then:ident [$($context:tt)*] named $rows:tt $($other:tt)*) => { $then! { $($context)* $rows } };
    (effective_only $then:ident [$($context:tt)*] effective_only $rows:tt $($other:tt)*) => { $then! { $($context)* $rows } };
    (call $then:ident [$($context:tt)*] call $rows:tt $($other:tt)*) => { $then! { $($context)* $rows } };
    (rare $then:ident [$($context:tt)*] rare $rows:tt $($other:tt)*) => { $then! { $($context)* $rows } };
    (from_task $then:ident [$($context:tt)*] from_task $rows:tt $($other:tt)*) => { $then! { $($context)* $rows } };
    (call_route $then:ident [$($context:tt)*] call_route $rows:tt $($other:tt)*) => { $then! { $($context)* $rows } };
    (rare_route $then:ident [$($context:tt)*] rare_route $rows:tt $($other:tt)*) => { $then! { $($context)* $rows } };
    (call_wire $then:ident [$($context:tt)*] call_wire $rows:tt $($other:tt)*) => { $then! { $($context)* $rows } };
    (rare_wire $then:ident [$($context:tt)*] rare_wire $rows:tt $($other:tt)*) => { $then! { $($context)* $rows } };
    (call_read $then:ident [$($context:tt)*] call_read $rows:tt $($other:tt)*) => { $then! { $($context)* $rows } };
    (call_setter $then:ident [$($context:tt)*] call_setter $rows:tt $($other:tt)*) => { $then! { $($context)* $rows } };
    (rare_setter $then:ident [$($context:tt)*] rare_setter $rows:tt $($other:tt)*) => { $then! { $($context)* $rows } };
    (retry $then:ident [$($context:tt)*] retry $rows:tt $($other:tt)*) => { $then! { $($context)* $rows } };
    ($view:ident $then:ident $context:tt $other:ident $rows:tt $($others:tt)+) => {
        $crate::__option_view! { $view $then $context $($others)+ }
    };
}

/// `Some` of its input; `None` for no input.
#[doc(hidden)]
#[macro_export]
macro_rules! __first {
    () => { None };
    ($($input:tt)+) => { Some($($input)+) };
}

/// Whether there is any input.
#[doc(hidden)]
#[macro_export]
macro_rules! __any {
    () => {
        false
    };
    ($($input:tt)+) => {
        true
    };
}
