// FunctionGemma's replies and prompts for a Swift app, with Foundation only.
//
// LiteRT-LM's Conversation writes the prompt and reads calls by itself; this is for runtimes that hand over plain text, and for whoever
// wants to be strict: a call is returned only if it is written exactly as the model was trained to write it. Anything else is a ParseError
// with the place where it broke; nothing is guessed. The first broken call ends the reading, because where its strings end is then unknown.
// Linear time, at most 64 levels deep. `swiftc FunctionGemma.swift check/main.swift && ./main vectors.json` checks it.

import Foundation

public enum FunctionGemma {
  public static let bos = "<bos>"
  public static let controlTokens = [
    "<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>", "<escape>", "<start_function_declaration>",
    "<end_function_declaration>", "<start_function_call>", "<end_function_call>", "<start_function_response>",
    "<end_function_response>", "<start_of_image>", "<end_of_image>", "<image_soft_token>", "<start_receiver>", "<end_receiver>",
    "<unk>", "<mask>",
  ]

  /// A value of an argument, its type kept.
  public indirect enum Value: Equatable {
    case null
    case bool(Bool)
    case int(Int64)
    case double(Double)
    case string(String)
    case array([Value])
    case object([String: Value])

    /// The value as JSONSerialization has it.
    public var json: Any {
      switch self {
      case .null: return NSNull()
      case .bool(let value): return value
      case .int(let value): return value
      case .double(let value): return value
      case .string(let value): return value
      case .array(let values): return values.map { $0.json }
      case .object(let pairs): return pairs.mapValues { $0.json }
      }
    }
  }

  /// A call that the model wrote without a mistake. Whether it may run, and with these arguments, is your app's decision.
  public struct Call: Equatable {
    public let name: String
    public let arguments: [String: Value]
  }

  /// What could not be read, and why.
  ///
  /// `code` is truncated_call (cut off), malformed_call, stray_token, content_after_response_token or content_after_end_of_turn; `at` is
  /// the place in `reply.utf16` at which it broke, `expected` what should have stood there, `raw` the text that was not read.
  public struct ParseError: Error, Equatable {
    public let code: String
    public let at: Int
    public let expected: String
    public let raw: String
  }

  /// `text` is for the user; run nothing of a reply that has errors with the codes truncated_call or malformed_call.
  public struct Reply: Equatable {
    public let text: String
    public let calls: [Call]
    public let errors: [ParseError]
  }

  /// Reads a whole reply, control tokens included. Never throws.
  public static func parse(_ reply: String) -> Reply {
    var whole = Reader(reply)
    if whole.isCallWithoutStart() {
      let error = ParseError(code: "malformed_call", at: whole.firstVisible(), expected: Reader.startCall, raw: reply)
      return Reply(text: "", calls: [], errors: [error])
    }
    var reader = Reader(reply)
    var text: [UInt16] = []
    var calls: [Call] = []
    var errors: [ParseError] = []
    while reader.at < reader.units.count {
      let start = reader.at
      if reader.units[start] != Reader.less {
        text.append(reader.units[start])
        reader.at += 1
        continue
      }
      let token = reader.token(start)
      reader.at = start + max(token.utf16.count, 1)
      if token.isEmpty {
        text.append(Reader.less)
      } else if token == Reader.startCall {
        do {
          calls.append(try reader.call())
        } catch {
          let broken = error as? ParseError
          errors.append(
            ParseError(
              code: broken?.code ?? "malformed_call", at: broken?.at ?? start, expected: broken?.expected ?? "a call",
              raw: reader.slice(start, reader.units.count)))
          break
        }
      } else if let code = Reader.stops[token] {
        reader.skipEnd()
        if reader.at < reader.units.count {
          let raw = reader.slice(reader.at, reader.units.count)
          errors.append(ParseError(code: code, at: reader.at, expected: "the end of the reply", raw: raw))
        }
        break
      } else {
        errors.append(ParseError(code: "stray_token", at: start, expected: "text, a call or the end of the reply", raw: token))
      }
    }
    return Reply(text: String(decoding: text, as: UTF16.self), calls: calls, errors: errors)
  }

  /// The prompt of a first request, as in training. Runtimes that add <bos> themselves want it without: `.dropFirst(bos.count)`.
  ///
  /// Nil if the request spells a control token: the model would read it as one.
  public static func renderPrompt(request: String, developer: String, declarations: String) -> String? {
    // By units: to Swift's own search a token with a combining character behind it would not be there.
    let reader = Reader(request)
    if reader.units.indices.contains(where: { reader.token($0) != "" }) { return nil }
    let start = "\(bos)<start_of_turn>developer\n\(trim(developer))\(declarations)<end_of_turn>\n"
    return "\(start)<start_of_turn>user\n\(trim(request))<end_of_turn>\n<start_of_turn>model\n"
  }

  static func trim(_ text: String) -> String {
    let units = Array(text.utf16)
    var start = 0
    var end = units.count
    while start < end && Reader.spaces.contains(units[start]) { start += 1 }
    while end > start && Reader.spaces.contains(units[end - 1]) { end -= 1 }
    return String(decoding: units[start..<end], as: UTF16.self)
  }
}

/// Recursive descent over the text's UTF-16 units; `at` is the place reached.
private struct Reader {
  typealias Value = FunctionGemma.Value

  static let escape = "<escape>"
  static let startCall = "<start_function_call>"
  static let endCall = "<end_function_call>"
  static let stops = [
    "<start_function_response>": "content_after_response_token",
    "<end_of_turn>": "content_after_end_of_turn",
    "<eos>": "content_after_end_of_turn",
  ]
  static let maxDepth = 64
  static let less: UInt16 = 0x3c
  static let tokens = FunctionGemma.controlTokens.map { (text: $0, units: Array($0.utf16)) }
  static let escapeUnits = Array(escape.utf16)
  static let endCallUnits = Array(endCall.utf16)
  static let callUnits = Array("call:".utf16)
  // White space as Python has it, which the model's chat template trims by.
  static let spaces: Set<UInt16> = [
    0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x1c, 0x1d, 0x1e, 0x1f, 0x20, 0x85, 0xa0, 0x1680, 0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005,
    0x2006, 0x2007, 0x2008, 0x2009, 0x200a, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000,
  ]
  static let afterName = spaces.union("{}[]()<>\",=".utf16)
  static let afterKey = Set(":,{}[]".utf16)
  static let afterWord = spaces.union(",]}".utf16)

  let units: [UInt16]
  var at = 0

  init(_ text: String) {
    units = Array(text.utf16)
  }

  func slice(_ start: Int, _ end: Int) -> String {
    return String(decoding: units[start..<end], as: UTF16.self)
  }

  func failure(_ place: Int, _ expected: String) -> FunctionGemma.ParseError {
    let found = token(place)
    let cut = isCut(place) || (found != "" && found != Reader.escape && found != Reader.endCall)
    return FunctionGemma.ParseError(code: cut ? "truncated_call" : "malformed_call", at: place, expected: expected, raw: "")
  }

  func starts(_ wanted: [UInt16], _ place: Int) -> Bool {
    return place + wanted.count <= units.count && units[place..<(place + wanted.count)].elementsEqual(wanted)
  }

  /// Whether the text ends at this place, or in the middle of `wanted`, which starts there.
  func ends(in wanted: [UInt16], _ place: Int) -> Bool {
    let left = units.count - place
    return left < wanted.count && units[place...].elementsEqual(wanted[..<left])
  }

  /// The control token at this place, empty if there is none.
  func token(_ place: Int) -> String {
    guard place < units.count, units[place] == Reader.less else { return "" }
    return Reader.tokens.first(where: { starts($0.units, place) })?.text ?? ""
  }

  func isCut(_ place: Int) -> Bool {
    return Reader.tokens.contains(where: { ends(in: $0.units, place) })
  }

  /// Whether this very character comes next.
  func isNext(_ character: Unicode.Scalar) -> Bool {
    return at < units.count && UInt32(units[at]) == character.value
  }

  mutating func skipSpace() {
    while at < units.count && Reader.spaces.contains(units[at]) { at += 1 }
  }

  mutating func firstVisible() -> Int {
    at = 0
    skipSpace()
    return at
  }

  /// On to the first place that holds anything but white space, stops and padding.
  mutating func skipEnd() {
    while true {
      skipSpace()
      let found = token(at)
      if Reader.stops[found] == nil && found != "<pad>" { return }
      at += found.utf16.count
    }
  }

  mutating func isCallWithoutStart() -> Bool {
    skipSpace()
    if !starts(Reader.callUnits, at) { return false }
    do {
      _ = try call()
    } catch {
      return false
    }
    skipEnd()
    return at == units.count
  }

  /// What comes before the next unit in `stops` or the next control token. Fails at the end of the text.
  mutating func until(_ stops: Set<UInt16>) throws -> String {
    let start = at
    while at < units.count && !stops.contains(units[at]) {
      if units[at] == Reader.less && (token(at) != "" || isCut(at)) { break }
      at += 1
    }
    if at == units.count { throw failure(at, "the rest of the call") }
    return slice(start, at)
  }

  mutating func character(_ expected: Unicode.Scalar) throws {
    skipSpace()
    if !isNext(expected) { throw failure(at, String(expected)) }
    at += 1
  }

  mutating func call() throws -> FunctionGemma.Call {
    skipSpace()
    if !starts(Reader.callUnits, at) {
      throw failure(ends(in: Reader.callUnits, at) ? units.count : at, "call:")
    }
    at += Reader.callUnits.count
    let name = try until(Reader.afterName)
    if name.isEmpty { throw failure(at, "the name of a function") }
    try character("{")
    let arguments = try object(1)
    skipSpace()
    if starts(Reader.endCallUnits, at) {
      at += Reader.endCallUnits.count
    } else if ends(in: Reader.endCallUnits, at) {
      at = units.count  // the reply ends before or in the end tag
    } else if Reader.stops[token(at)] == nil {
      throw failure(at, Reader.endCall)
    }
    return FunctionGemma.Call(name: name, arguments: arguments)
  }

  mutating func object(_ depth: Int) throws -> [String: Value] {
    if depth > Reader.maxDepth { throw failure(at - 1, "at most 64 levels") }
    var pairs: [String: Value] = [:]
    var names: Set<[UInt16]> = []
    skipSpace()
    if isNext("}") {
      at += 1
      return pairs
    }
    while true {
      skipSpace()
      let start = at
      let name = try key()
      // Swift's own comparison takes names that only look alike for the same.
      if !names.insert(Array(name.utf16)).inserted || pairs[name] != nil {
        throw failure(start, "an argument that is not there yet")
      }
      try character(":")
      pairs[name] = try value(depth)
      skipSpace()
      if isNext("}") {
        at += 1
        return pairs
      }
      try character(",")
    }
  }

  mutating func array(_ depth: Int) throws -> [Value] {
    if depth > Reader.maxDepth { throw failure(at - 1, "at most 64 levels") }
    var values: [Value] = []
    skipSpace()
    if isNext("]") {
      at += 1
      return values
    }
    while true {
      values.append(try value(depth))
      skipSpace()
      if isNext("]") {
        at += 1
        return values
      }
      try character(",")
    }
  }

  mutating func key() throws -> String {
    if starts(Reader.escapeUnits, at) { return try string() }
    let start = at
    let name = FunctionGemma.trim(try until(Reader.afterKey))
    if name.isEmpty || name.utf16.first == 0x22 { throw failure(start, "the name of an argument") }
    return name
  }

  /// Text between two <escape>; everything in it is text, whatever it looks like.
  mutating func string() throws -> String {
    let start = at + Reader.escapeUnits.count
    var end = start
    while end < units.count && !(units[end] == Reader.less && starts(Reader.escapeUnits, end)) { end += 1 }
    if end == units.count { throw failure(end, Reader.escape) }
    at = end + Reader.escapeUnits.count
    return slice(start, end)
  }

  mutating func value(_ depth: Int) throws -> Value {
    skipSpace()
    if starts(Reader.escapeUnits, at) { return .string(try string()) }
    if isNext("{") {
      at += 1
      return .object(try object(depth + 1))
    }
    if isNext("[") {
      at += 1
      return .array(try array(depth + 1))
    }
    let start = at
    let word = try until(Reader.afterWord)
    switch word {
    case "true": return .bool(true)
    case "false": return .bool(false)
    case "null", "None": return .null
    default: break
    }
    guard let isWhole = Reader.isWholeNumber(Array(word.utf16)) else { throw failure(start, "a value") }
    if isWhole, let read = Int64(word) { return .int(read) }
    if !isWhole, let read = Double(word), read.isFinite { return .double(read) }
    throw failure(start, "a number that fits into 64 bits")
  }

  /// Whether a word is -?(0|[1-9][0-9]*) alone (true), with (\.[0-9]+)?([eE][+-]?[0-9]+)? behind it (false), or neither (nil).
  static func isWholeNumber(_ word: [UInt16]) -> Bool? {
    var place = 0
    func isOne(of characters: String) -> Bool { return place < word.count && characters.utf16.contains(word[place]) }
    func digits() -> Int {
      let start = place
      while place < word.count && word[place] >= 0x30 && word[place] <= 0x39 { place += 1 }
      return place - start
    }
    if isOne(of: "-") { place += 1 }
    let leadingZero = isOne(of: "0")
    let count = digits()
    if count == 0 || (leadingZero && count > 1) { return nil }
    if place == word.count { return true }
    if isOne(of: ".") {
      place += 1
      if digits() == 0 { return nil }
    }
    if isOne(of: "eE") {
      place += 1
      if isOne(of: "+-") { place += 1 }
      if digits() == 0 { return nil }
    }
    return place == word.count ? false : nil
  }
}
