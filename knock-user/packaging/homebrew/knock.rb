# The client. The daemon needs Linux, and has packages of its own there.
class Knock < Formula
  desc "{{client_summary}}"
  homepage "{{repository}}"
  url "{{url:source}}"
  sha256 "{{sha256:source}}"
  license any_of: ["MIT", "Apache-2.0"]

  # The page for browsers contains WebAssembly, for which Homebrew's own Rust has no library.
  depends_on "rustup" => :build

  def install
    ENV.prepend_path "PATH", Formula["rustup"].bin
    system "rustup", "default", "stable"
    system "rustup", "target", "add", "wasm32-unknown-unknown"
    system "cargo", "install", "--no-default-features", "--bin", "knock", *std_cargo_args(path: "knock-user")
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/knock --version")
  end
end
