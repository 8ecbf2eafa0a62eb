# The client. The daemon needs Linux, and has packages of its own there.
class Knock < Formula
  desc "{{client_summary}}"
  homepage "{{repository}}"
  url "{{url:source}}"
  sha256 "{{sha256:source}}"
  license any_of: ["MIT", "Apache-2.0"]

  depends_on "rust" => :build

  def install
    system "cargo", "install", "--no-default-features", "--bin", "knock", *std_cargo_args(path: "knock-user")
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/knock --version")
  end
end
