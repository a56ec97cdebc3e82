//! Where code lives and what it may import: floors, rooms, folders, and the size and the opening of files.

pub(crate) mod absent;
pub(crate) mod drivers;
pub(crate) mod floors;
pub(crate) mod folders;
pub(crate) mod foreign_types;
pub(crate) mod graph;
pub(crate) mod imports;
pub(crate) mod modules;
pub(crate) mod non_exhaustive;
pub(crate) mod rooms;
pub(crate) mod roots;
pub(crate) mod size;
pub(crate) mod walk;
