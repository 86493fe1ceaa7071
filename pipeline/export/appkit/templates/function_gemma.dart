/// FunctionGemma's replies and prompts for a Dart or Flutter app, without packages.
///
/// flutter_edge_ai (once flutter_gemma) writes the prompt and reads calls by itself; this is for runtimes that hand over plain text, and
/// for whoever wants to be strict: a call is returned only if it is written exactly as the model was trained to write it. Anything else
/// is a [ParseError] with the place where it broke; nothing is guessed. The first broken call ends the reading, because where its strings
/// end is then unknown. Linear time, at most 64 levels deep. `dart run check.dart ../vectors.json` checks it against the golden vectors.
library;

const String bos = '<bos>';
const String _escape = '<escape>';
const String _startCall = '<start_function_call>';
const String _endCall = '<end_function_call>';
const Map<String, String> _stops = {
  '<start_function_response>': 'content_after_response_token',
  '<end_of_turn>': 'content_after_end_of_turn',
  '<eos>': 'content_after_end_of_turn',
};
const List<String> controlTokens = [
  '<bos>', '<eos>', '<pad>', '<start_of_turn>', '<end_of_turn>', '<escape>', '<start_function_declaration>',
  '<end_function_declaration>', '<start_function_call>', '<end_function_call>', '<start_function_response>',
  '<end_function_response>', '<start_of_image>', '<end_of_image>', '<image_soft_token>', '<start_receiver>', '<end_receiver>',
  '<unk>', '<mask>',
];
const int _maxDepth = 64;
// White space as Python has it, which the model's chat template trims by; Dart's own differs in U+001C to U+001F, U+0085 and U+FEFF.
const String _spaces =
    '\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000';
const Map<String, bool?> _words = {'true': true, 'false': false, 'null': null, 'None': null};
final RegExp _number = RegExp(r'^-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$');

/// A call that the model wrote without a mistake. Whether it may run, and with these arguments, is your app's decision.
class Call {
  const Call(this.name, this.arguments);

  final String name;
  final Map<String, dynamic> arguments;
}

/// What could not be read, and why: [code] is truncated_call (cut off), malformed_call, stray_token, content_after_response_token or
/// content_after_end_of_turn, [at] the index in the reply at which it broke, [expected] what should have stood there.
class ParseError {
  const ParseError(this.code, this.at, this.expected, this.raw);

  final String code;
  final int at;
  final String expected;
  final String raw;

  @override
  String toString() => '$code at $at: expected $expected';
}

/// [text] is for the user; run nothing of a reply that has errors with the codes truncated_call or malformed_call.
class Reply {
  const Reply(this.text, this.calls, this.errors);

  final String text;
  final List<Call> calls;
  final List<ParseError> errors;
}

/// Reads a whole reply, control tokens included. Never throws.
Reply parse(String reply) {
  final whole = _Reader(reply);
  if (whole.isCallWithoutStart()) {
    return Reply('', [], [ParseError('malformed_call', whole.firstVisible(), _startCall, reply)]);
  }
  final reader = _Reader(reply);
  final text = StringBuffer();
  final calls = <Call>[];
  final errors = <ParseError>[];
  while (reader.at < reply.length) {
    final start = reply.indexOf('<', reader.at);
    text.write(reply.substring(reader.at, start < 0 ? reply.length : start));
    if (start < 0) break;
    final token = reader.token(start);
    reader.at = start + (token.isEmpty ? 1 : token.length);
    if (token.isEmpty) {
      text.write('<');
    } else if (token == _startCall) {
      try {
        calls.add(reader.call());
      } on _Broken catch (broken) {
        errors.add(ParseError(broken.code, broken.at, broken.expected, reply.substring(start)));
        break;
      }
    } else if (_stops.containsKey(token)) {
      reader.skipEnd();
      if (reader.at < reply.length) {
        errors.add(ParseError(_stops[token]!, reader.at, 'the end of the reply', reply.substring(reader.at)));
      }
      break;
    } else {
      errors.add(ParseError('stray_token', start, 'text, a call or the end of the reply', token));
    }
  }
  return Reply(text.toString(), calls, errors);
}

/// The prompt of a first request, as in training. Runtimes that add <bos> themselves want it without: `.substring(bos.length)`.
///
/// Throws an [ArgumentError] if the request spells a control token: the model would read it as one.
String renderPrompt(String request, String developer, String declarations) {
  for (final token in controlTokens) {
    if (request.contains(token)) throw ArgumentError('The request spells the control token $token.');
  }
  final start = '$bos<start_of_turn>developer\n${_trim(developer)}$declarations<end_of_turn>\n';
  return '$start<start_of_turn>user\n${_trim(request)}<end_of_turn>\n<start_of_turn>model\n';
}

String _trim(String text) {
  var start = 0;
  var end = text.length;
  while (start < end && _spaces.contains(text[start])) {
    start++;
  }
  while (end > start && _spaces.contains(text[end - 1])) {
    end--;
  }
  return text.substring(start, end);
}

class _Broken implements Exception {
  const _Broken(this.code, this.at, this.expected);

  final String code;
  final int at;
  final String expected;
}

/// Recursive descent over the text; [at] is the place reached.
class _Reader {
  _Reader(this.text);

  final String text;
  int at = 0;

  Never fail(int place, String expected) {
    final found = token(place);
    final cut = isCut(place) || (found.isNotEmpty && found != _escape && found != _endCall);
    throw _Broken(cut ? 'truncated_call' : 'malformed_call', place, expected);
  }

  /// The control token at this place, empty if there is none.
  String token(int place) {
    for (final token in controlTokens) {
      if (text.startsWith(token, place)) return token;
    }
    return '';
  }

  /// Whether the text ends at this place, or in the middle of a control token that starts there.
  bool isCut(int place) {
    for (final token in controlTokens) {
      if (text.length - place < token.length && token.startsWith(text.substring(place))) return true;
    }
    return false;
  }

  /// Whether this very character comes next.
  bool isNext(String character) => at < text.length && text[at] == character;

  void skipSpace() {
    while (at < text.length && _spaces.contains(text[at])) {
      at++;
    }
  }

  int firstVisible() {
    at = 0;
    skipSpace();
    return at;
  }

  /// On to the first place that holds anything but white space, stops and padding.
  void skipEnd() {
    while (true) {
      skipSpace();
      final found = token(at);
      if (!_stops.containsKey(found) && found != '<pad>') return;
      at += found.length;
    }
  }

  bool isCallWithoutStart() {
    skipSpace();
    if (!text.startsWith('call:', at)) return false;
    try {
      call();
    } on _Broken {
      return false;
    }
    skipEnd();
    return at == text.length;
  }

  /// What comes before the next character in [stops] or the next control token. Fails at the end of the text.
  String until(String stops) {
    final start = at;
    while (at < text.length && !stops.contains(text[at])) {
      if (text[at] == '<' && (token(at).isNotEmpty || isCut(at))) break;
      at++;
    }
    if (at == text.length) fail(at, 'the rest of the call');
    return text.substring(start, at);
  }

  void character(String expected) {
    skipSpace();
    if (!isNext(expected)) fail(at, expected);
    at++;
  }

  Call call() {
    skipSpace();
    if (!text.startsWith('call:', at)) {
      final cut = text.length - at < 5 && 'call:'.startsWith(text.substring(at));
      fail(cut ? text.length : at, 'call:');
    }
    at += 5;
    final name = until('{}[]()<>",=$_spaces');
    if (name.isEmpty) fail(at, 'the name of a function');
    character('{');
    final arguments = object(1);
    skipSpace();
    final left = text.length - at;
    if (text.startsWith(_endCall, at)) {
      at += _endCall.length;
    } else if (left < _endCall.length && _endCall.startsWith(text.substring(at))) {
      at = text.length; // the reply ends before or in the end tag
    } else if (!_stops.containsKey(token(at))) {
      fail(at, _endCall);
    }
    return Call(name, arguments);
  }

  Map<String, dynamic> object(int depth) {
    if (depth > _maxDepth) fail(at - 1, 'at most $_maxDepth levels');
    final pairs = <String, dynamic>{};
    skipSpace();
    if (isNext('}')) {
      at++;
      return pairs;
    }
    while (true) {
      skipSpace();
      final start = at;
      final name = key();
      if (pairs.containsKey(name)) fail(start, 'an argument that is not there yet');
      character(':');
      pairs[name] = value(depth);
      skipSpace();
      if (isNext('}')) {
        at++;
        return pairs;
      }
      character(',');
    }
  }

  List<dynamic> array(int depth) {
    if (depth > _maxDepth) fail(at - 1, 'at most $_maxDepth levels');
    final values = <dynamic>[];
    skipSpace();
    if (isNext(']')) {
      at++;
      return values;
    }
    while (true) {
      values.add(value(depth));
      skipSpace();
      if (isNext(']')) {
        at++;
        return values;
      }
      character(',');
    }
  }

  String key() {
    if (text.startsWith(_escape, at)) return string();
    final start = at;
    final name = _trim(until(':,{}[]'));
    if (name.isEmpty || name[0] == '"') fail(start, 'the name of an argument');
    return name;
  }

  /// Text between two <escape>; everything in it is text, whatever it looks like.
  String string() {
    final start = at + _escape.length;
    final end = text.indexOf(_escape, start);
    if (end < 0) fail(text.length, _escape);
    at = end + _escape.length;
    return text.substring(start, end);
  }

  Object? value(int depth) {
    skipSpace();
    if (text.startsWith(_escape, at)) return string();
    if (isNext('{')) {
      at++;
      return object(depth + 1);
    }
    if (isNext('[')) {
      at++;
      return array(depth + 1);
    }
    final start = at;
    final word = until(',]}$_spaces');
    if (_words.containsKey(word)) return _words[word];
    final number = _number.firstMatch(word);
    if (number == null) fail(start, 'a value');
    if (number.group(1) != null || number.group(2) != null) {
      final read = double.parse(word);
      if (!read.isFinite) fail(start, 'a number that fits into 64 bits');
      return read;
    }
    return int.tryParse(word) ?? fail(start, 'a number that fits into 64 bits');
  }
}
