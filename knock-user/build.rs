//! Compiles the XDP program for the kernel and leaves it in `OUT_DIR`, where the daemon
//! embeds it.

fn main() -> anyhow::Result<()> {
    #[cfg(feature = "daemon")]
    ebpf::build()?;
    Ok(())
}

#[cfg(feature = "daemon")]
mod ebpf {
    use std::{fs, path::Path};

    use anyhow::Result;
    use object::{
        build::elf::{Builder, SectionData},
        elf::SHT_STRTAB,
    };

    pub(super) fn build() -> Result<()> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("knock-ebpf");
        let out = knock_ebpf_build::build("knock-ebpf", &root)?;
        strip(&out.join("knock-xdp"))
    }

    /// Takes the debugging information out of the object, nine tenths of it. The compiler has made
    /// the types out of it that the kernel wants (BTF), and nobody else reads it.
    fn strip(object: &Path) -> Result<()> {
        const DEBUG: [&[u8]; 2] = [b".debug_", b".rel.debug_"];

        let whole = fs::read(object)?;
        let mut elf = Builder::read(&*whole)?;
        for section in &mut elf.sections {
            section.delete = DEBUG.iter().any(|name| section.name.starts_with(name));
        }
        // Names of sections and of symbols share a table in what the linker writes.
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
}
