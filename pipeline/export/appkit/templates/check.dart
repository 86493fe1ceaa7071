/// Are the golden vectors what function_gemma.dart gives? `dart run check.dart ../vectors.json`
library;

import 'dart:convert';
import 'dart:io';

import 'function_gemma.dart';

void main(List<String> arguments) {
  final golden = jsonDecode(File(arguments[0]).readAsStringSync()) as Map<String, dynamic>;
  final vectors = golden['vectors'] as List<dynamic>;
  final failed = [
    for (final vector in vectors)
      if (!_isReproduced(vector as Map<String, dynamic>, golden['declarations'] as String)) vector['name'],
  ];
  print(['${vectors.length - failed.length} of ${vectors.length} vectors', ...failed].join('\n'));
  exitCode = failed.isEmpty ? 0 : 1;
}

bool _isReproduced(Map<String, dynamic> vector, String declarations) {
  final reply = parse(vector['reply'] as String);
  final calls = [
    for (final call in reply.calls) {'name': call.name, 'arguments': call.arguments},
  ];
  final errors = [
    for (final error in reply.errors) {'code': error.code, 'at': error.at},
  ];
  final wanted = [
    for (final error in vector['errors'] as List<dynamic>) {'code': error['code'], 'at': error['at_utf16']},
  ];
  final request = vector['request'] as String?;
  final prompt =
      request == null || renderPrompt(request, vector['developer'] as String, declarations) == vector['prompt'];
  return prompt && reply.text == vector['text'] && _same(calls, vector['calls']) && _same(errors, wanted);
}

bool _same(Object? a, Object? b) {
  if (a is Map && b is Map) {
    return a.length == b.length && a.keys.every((key) => b.containsKey(key) && _same(a[key], b[key]));
  }
  if (a is List && b is List) {
    return a.length == b.length && [for (var i = 0; i < a.length; i++) i].every((i) => _same(a[i], b[i]));
  }
  return a == b && (a is int) == (b is int);
}
