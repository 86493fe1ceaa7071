// Are the golden vectors what FunctionGemma.swift gives? `swiftc FunctionGemma.swift check/main.swift && ./main ../vectors.json`

import Foundation

let data = try Data(contentsOf: URL(fileURLWithPath: CommandLine.arguments[1]))
let golden = try JSONSerialization.jsonObject(with: data) as! [String: Any]
let vectors = golden["vectors"] as! [[String: Any]]
let declarations = golden["declarations"] as! String
var failed: [String] = []

for vector in vectors {
  let reply = FunctionGemma.parse(vector["reply"] as! String)
  let calls = reply.calls.map { ["name": $0.name, "arguments": FunctionGemma.Value.object($0.arguments).json] as [String: Any] }
  let errors = reply.errors.map { ["code": $0.code, "at": $0.at] as [String: Any] }
  let wanted = (vector["errors"] as! [[String: Any]]).map { ["code": $0["code"]!, "at": $0["at_utf16"]!] as [String: Any] }
  var good = reply.text == vector["text"] as! String && NSArray(array: calls).isEqual(to: vector["calls"] as! [Any])
  good = good && NSArray(array: errors).isEqual(to: wanted)
  if let request = vector["request"] as? String {
    let prompt = FunctionGemma.renderPrompt(request: request, developer: vector["developer"] as! String, declarations: declarations)
    good = good && prompt == (vector["prompt"] as! String)
  }
  if !good { failed.append(vector["name"] as! String) }
}
print((["\(vectors.count - failed.count) of \(vectors.count) vectors"] + failed).joined(separator: "\n"))
exit(failed.isEmpty ? 0 : 1)
