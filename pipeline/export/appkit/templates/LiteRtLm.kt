/*
 * The tools of Tools.kt for LiteRT-LM (com.google.ai.edge.litertlm:litertlm-android, or litertlm-jvm elsewhere), whose model files write
 * the prompt as in training:
 *
 *     val config = ConversationConfig(
 *         systemInstruction = Contents.of(DEVELOPER), tools = liteRtLmTools(), automaticToolCalling = false)
 *     val message = engine.createConversation(config).sendMessage(request)
 *     for (call in message.toolCalls) when (ToolName.of(call.name)) { ... call.arguments ... }
 *
 * https://github.com/google-ai-edge/LiteRT-LM/blob/main/docs/api/kotlin/getting_started.md, section 6
 */
package functiongemma

import com.google.ai.edge.litertlm.OpenApiTool
import com.google.ai.edge.litertlm.ToolProvider
import com.google.ai.edge.litertlm.tool

/** With automaticToolCalling = true, `run` gets each call's arguments as JSON and gives its result as JSON. */
fun liteRtLmTools(run: (ToolName, String) -> String = { name, _ -> error("${name.wire} is not called automatically") }): List<ToolProvider> =
    DECLARED.map { (name, json) -> tool(Declared(name, json, run)) }

private class Declared(
    private val name: ToolName,
    private val json: String,
    private val run: (ToolName, String) -> String
) : OpenApiTool {
    override fun getToolDescriptionJsonString(): String = json

    override fun execute(paramsJsonString: String): String = run(name, paramsJsonString)
}
