//! Compiles the XDP program into `OUT_DIR`. The loader embeds it in the library.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use object::{
    build::elf::{Builder, SectionData},
    elf::SHT_STRTAB,
};

fn main() -> Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .context("this crate is two folders below the workspace")?;
    let out = knock_ebpf_build::build("knock-ebpf", &workspace.join("knock-ebpf"))?;
    strip(&out.join("knock-xdp"))
}

/// Removes the debug information, about 90 % of the object. The kernel needs only BTF, which the
/// linker derives from it.
fn strip(object: &Path) -> Result<()> {
    const DEBUG: [&[u8]; 2] = [b".debug_", b".rel.debug_"];

    let whole = fs::read(object)?;
    let mut elf = Builder::read(&*whole)?;
    for section in &mut elf.sections {
        section.delete = DEBUG.iter().any(|name| section.name.starts_with(name));
    }
    // The linker puts section and symbol names into one table. The builder needs a separate one
    // for sections.
    let names = elf.sections.add();
    names.name = b".shstrtab".as_slice().into();
    names.sh_type = SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    elf.delete_orphans();
    let mut stripped = Vec::new();
    elf.write(&mut stripped)?;
    fs::write(object, stripped)?;
    Ok(())
}
